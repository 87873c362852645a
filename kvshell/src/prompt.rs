//! The prompt: context and leader. A dead cluster must not hold it up, so the leader is asked for by a thread of its
//! own and the prompt waits for it only a moment; an answer that comes later is shown the next time.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use client::{Client, Settings};
use console::command::leader_name;
use tokio::sync::mpsc;

/// What a prompt may wait: within the 50 ms that feel immediate.
const PATIENCE: Duration = Duration::from_millis(25);

/// What protects the context of the prompt.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Guard {
    /// Nothing.
    None,
    /// It is protected: shown in red where there is colour.
    Protected {
        /// Whether it may be changed all the same.
        writable: bool,
        /// Whether there is.
        color: bool,
    },
}

/// Shows what is known and asks for more.
pub(crate) struct Prompt {
    context: String,
    ask: mpsc::Sender<()>,
    answers: Receiver<Option<String>>,
    leader: Option<String>,
}

impl Prompt {
    /// Starts the thread that asks. Without a thread the leader stays unknown.
    pub(crate) fn new(context: &str, settings: Settings) -> Self {
        let (ask, asked) = mpsc::channel(1);
        let (answer, answers) = sync_channel(16);
        // It ends when the prompt does: `asked` then fails.
        let _ =
            thread::Builder::new().name("prompt".to_owned()).spawn(move || watch(settings, asked, &answer));
        let context = if context.is_empty() { "kv" } else { context };
        Self { context: context.to_owned(), ask, answers, leader: None }
    }

    /// `dev n2● > `, or `dev ? > ` while no leader is known; `prod n2● [ro] > ` while a protected context is only read;
    /// before the sign stands what it is `within`.
    pub(crate) fn text(&mut self, guard: Guard, within: &str) -> String {
        while let Ok(leader) = self.answers.try_recv() {
            self.leader = leader;
        }
        // A full channel means that an answer is on its way already.
        let _ = self.ask.try_send(());
        if let Ok(leader) = self.answers.recv_timeout(PATIENCE) {
            self.leader = leader;
        }
        show(&self.context, self.leader.as_deref(), guard, within)
    }
}

fn show(context: &str, leader: Option<&str>, guard: Guard, within: &str) -> String {
    let leader = leader.map_or_else(|| "?".to_owned(), |leader| format!("{leader}\u{25cf}"));
    match guard {
        Guard::None => format!("{context} {leader} {within}> "),
        Guard::Protected { writable, color } => {
            let (red, plain) = if color { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
            let mode = if writable { "" } else { " [ro]" };
            format!("{red}{context}{plain} {leader}{mode} {within}> ")
        }
    }
}

fn watch(settings: Settings, mut asked: mpsc::Receiver<()>, answer: &SyncSender<Option<String>>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let client = Client::new(settings);
        // Waiting here and not in a blocking call keeps the connections alive.
        while asked.recv().await.is_some() {
            let leader = leader_name(client.status().await);
            if answer.send(leader).is_err() {
                break;
            }
        }
        client.close().await;
    });
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn context_and_leader_are_shown() {
        assert_eq!(show("dev", Some("n2"), Guard::None, ""), "dev n2\u{25cf} > ");
        assert_eq!(show("dev", None, Guard::None, ""), "dev ? > ");
        assert_eq!(show("dev", None, Guard::None, "txn "), "dev ? txn > ");
    }

    #[test]
    fn a_protected_context_is_red_and_read_only_until_it_is_not() {
        let shown = |writable, color| show("prod", Some("n2"), Guard::Protected { writable, color }, "");
        assert_eq!(shown(false, false), "prod n2\u{25cf} [ro] > ");
        assert_eq!(shown(false, true), "\x1b[1;31mprod\x1b[0m n2\u{25cf} [ro] > ");
        assert_eq!(shown(true, true), "\x1b[1;31mprod\x1b[0m n2\u{25cf} > ");
    }

    #[test]
    fn silence_does_not_hold_it_up() {
        let (ask, _asked) = mpsc::channel(1);
        let (_answer, answers) = sync_channel(1);
        let mut prompt = Prompt { context: "dev".to_owned(), ask, answers, leader: Some("n1".to_owned()) };
        let began = Instant::now();
        assert_eq!(prompt.text(Guard::None, ""), "dev n1\u{25cf} > ");
        assert!(began.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn a_late_answer_is_shown_the_next_time() {
        let (ask, mut asked) = mpsc::channel(1);
        let (answer, answers) = sync_channel(1);
        let mut prompt = Prompt { context: "dev".to_owned(), ask, answers, leader: None };
        assert_eq!(prompt.text(Guard::None, ""), "dev ? > ");
        assert!(asked.try_recv().is_ok());
        answer.send(Some("n3".to_owned())).unwrap();
        assert_eq!(prompt.text(Guard::None, ""), "dev n3\u{25cf} > ");
    }
}
