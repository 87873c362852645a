//! Names that only the cluster knows: keys and nodes. The line editor asks for them at every key press, so nothing here
//! waits: what is known is given at once, what is not known or old is asked for by a thread of its own, and is there
//! at a later key press.
//!
//! Bounded: [`ANSWERS`] answers of [`offer::CANDIDATES`] names, one question under way and one that follows it; a later
//! question takes the place of the one that waits.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use client::{Client, Settings};
use console::offer;
use tokio::{sync::watch, time::timeout};

/// An answer is not asked for again before this.
const FRESH: Duration = Duration::from_secs(2);
/// An answer that is older is not shown any more.
const KEPT: Duration = Duration::from_mins(1);
/// What one question may take, however many requests it needs.
const BUDGET: Duration = Duration::from_secs(2);
/// Most answers that are kept.
const ANSWERS: usize = 32;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Keys that begin so, and folders of keys.
    Keys(String),
    /// Names of nodes.
    Nodes,
}

struct Answer {
    question: Question,
    names: Vec<String>,
    since: Instant,
    /// Something may have changed since.
    doubted: bool,
}

/// See the module.
pub(crate) struct Live {
    ask: watch::Sender<Option<Question>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
}

impl Live {
    /// Starts the thread, which connects when it is first asked. Without a thread nothing is ever known.
    pub(crate) fn new(settings: Settings) -> Self {
        let (ask, asked) = watch::channel(None);
        let answers = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&answers);
        // It ends when `ask` is dropped: `asked` then fails.
        let _ = thread::Builder::new().name("live".to_owned()).spawn(move || fetch(settings, asked, &kept));
        Self { ask, answers }
    }

    /// What is known; asks where that is nothing or old. Never waits.
    pub(crate) fn names(&self, question: Question) -> Vec<String> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let best = answers
            .iter()
            .filter(|answer| answer.since.elapsed() < KEPT && answer.is_about(&question))
            .max_by_key(|answer| (answer.question == question, answer.since));
        let fresh = best.is_some_and(|answer| !answer.doubted && answer.since.elapsed() < FRESH);
        let names = best.map(|answer| answer.names.clone()).unwrap_or_default();
        drop(answers);
        if !fresh {
            self.ask.send_replace(Some(question));
        }
        names
    }

    /// A command has run: what is known is asked for again, and shown until then.
    pub(crate) fn doubt(&self) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        for answer in answers.iter_mut() {
            answer.doubted = true;
        }
    }
}

impl Answer {
    /// Whether it has all names that are asked for, perhaps among others: it is the answer to that, or a whole answer
    /// to the beginning of that in the same folder.
    fn is_about(&self, asked: &Question) -> bool {
        match (&self.question, asked) {
            (Question::Keys(had), Question::Keys(asked)) => asked.strip_prefix(had).is_some_and(|rest| {
                rest.is_empty() || (!rest.contains('/') && self.names.len() < offer::CANDIDATES)
            }),
            (had, asked) => had == asked,
        }
    }
}

fn fetch(settings: Settings, mut asked: watch::Receiver<Option<Question>>, known: &Mutex<VecDeque<Answer>>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let client = Client::new(Settings { timeout: BUDGET / 2, ..settings });
        // Waiting here and not in a blocking call keeps the connections alive.
        while asked.changed().await.is_ok() {
            let Some(question) = asked.borrow_and_update().clone() else { continue };
            let names = match &question {
                Question::Keys(prefix) => timeout(BUDGET, offer::keys(&client, prefix)).await,
                Question::Nodes => timeout(BUDGET, offer::nodes(&client)).await,
            };
            // A cluster that does not answer is not asked at every key press either.
            keep(known, question, names.ok());
        }
        client.close().await;
    });
}

/// Keeps an answer; where none came in time (`None`) the last one to this question, as if it had come now.
fn keep(known: &Mutex<VecDeque<Answer>>, question: Question, names: Option<Vec<String>>) {
    let mut answers = known.lock().unwrap_or_else(PoisonError::into_inner);
    let at = answers.iter().position(|answer| answer.question == question);
    let last = at.and_then(|at| answers.remove(at));
    let names = names.or_else(|| last.map(|last| last.names)).unwrap_or_default();
    if answers.len() >= ANSWERS {
        answers.pop_front();
    }
    answers.push_back(Answer { question, names, since: Instant::now(), doubted: false });
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::UdpSocket;

    use super::*;

    /// Without a thread, and with these answers.
    pub(crate) fn known(answers: &[(Question, &[&str])]) -> Live {
        let live = Live { ask: watch::channel(None).0, answers: Arc::default() };
        for (question, names) in answers {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            keep(&live.answers, question.clone(), Some(names));
        }
        live
    }

    fn keys(prefix: &str) -> Question {
        Question::Keys(prefix.to_owned())
    }

    #[test]
    fn what_is_known_is_given_and_what_is_not_is_asked() {
        let live = known(&[(keys("a"), &["app/", "apple"]), (Question::Nodes, &["n1"])]);
        let asked = live.ask.subscribe();
        assert_eq!(live.names(keys("app")), ["app/", "apple"]);
        assert_eq!(live.names(Question::Nodes), ["n1"]);
        assert_eq!(*asked.borrow(), None, "a shorter beginning was answered in whole, and now");
        assert!(live.names(keys("app/")).is_empty(), "what is in a folder is another question");
        assert_eq!(*asked.borrow(), Some(keys("app/")));
        live.doubt();
        assert_eq!(live.names(keys("app")), ["app/", "apple"], "shown until there is something newer");
        assert_eq!(*asked.borrow(), Some(keys("app")));
    }

    #[test]
    fn an_answer_that_was_cut_says_nothing_of_longer_beginnings() {
        let many: Vec<String> = (0..offer::CANDIDATES).map(|at| format!("k{at}")).collect();
        let names: Vec<&str> = many.iter().map(String::as_str).collect();
        let live = known(&[(keys("k"), &names[1..])]);
        assert_eq!(live.names(keys("k7")).len(), offer::CANDIDATES - 1);
        let live = known(&[(keys("k"), &names)]);
        assert!(live.names(keys("k7")).is_empty());
        assert_eq!(live.names(keys("k")).len(), offer::CANDIDATES);
    }

    #[test]
    fn no_more_answers_are_kept_than_there_may_be() {
        let live = known(&[]);
        for at in 0..=ANSWERS {
            keep(&live.answers, keys(&format!("{at}/")), Some(vec![format!("{at}/k")]));
        }
        assert_eq!(live.answers.lock().unwrap().len(), ANSWERS);
        assert!(live.names(keys("0/")).is_empty(), "the oldest went");
        assert_eq!(live.names(keys("32/")), ["32/k"]);
    }

    #[test]
    fn an_answer_that_does_not_come_leaves_what_is_known() {
        let live = known(&[(keys("a"), &["app/"])]);
        let asked = live.ask.subscribe();
        live.doubt();
        keep(&live.answers, keys("a"), None);
        keep(&live.answers, Question::Nodes, None);
        assert_eq!(live.names(keys("a")), ["app/"]);
        assert!(live.names(Question::Nodes).is_empty());
        assert_eq!(*asked.borrow(), None, "a cluster that does not answer is left alone for a while");
    }

    #[test]
    fn a_hung_server_delays_nothing() {
        let authority = transport::Authority::create("test", 1).unwrap();
        let client = authority.issue_client("admin", 1).unwrap();
        let identity =
            transport::Identity::from_pem(authority.cert_pem(), &client.cert_pem, &client.key_pem).unwrap();
        // It takes every datagram and answers none.
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let live = Live::new(Settings::new(vec![silent.local_addr().unwrap().to_string()], identity));
        live.names(keys("first"));
        silent.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(silent.recv(&mut [0; 2048]).is_ok(), "the thread asks");
        let began = Instant::now();
        for at in 0..1000 {
            assert!(live.names(keys(&format!("k{at}"))).is_empty());
        }
        live.doubt();
        drop(live);
        assert!(began.elapsed() < BUDGET / 4, "a thousand key presses took {:?}", began.elapsed());
    }
}
