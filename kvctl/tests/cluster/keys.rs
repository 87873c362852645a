//! The keys of `top`, on a terminal that `script` makes. What the terminal was set to is compared with what it is set to
//! afterwards, however `top` ended.

use std::{
    io::{Read as _, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use testkit::programs;

use crate::trial::Trial;

/// No test waits longer than this for anything to be drawn.
const PATIENCE: Duration = Duration::from_secs(20);

struct Terminal {
    script: Child,
    keys: ChildStdin,
    drawn: Receiver<Vec<u8>>,
    /// What was drawn since the last key.
    seen: String,
}

impl Terminal {
    /// Runs a line of the shell there; `None` where there is no `script`.
    fn open(trial: &Trial, line: &str, term: &str) -> Option<Self> {
        let line = format!(
            "stty rows 40 cols 130; echo modes $(stty -g); {line}; echo code $?; echo modes $(stty -g)"
        );
        let mut script = Command::new("script")
            .args(["-q", "-e", "-c", &line, "/dev/null"])
            .env_clear()
            .envs([("HOME", trial.home().to_str().unwrap()), ("TERM", term), ("SHELL", "/bin/sh")])
            .env("KVCTL_CONTEXT", trial.cluster.context())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let (sender, drawn) = channel();
        let mut stdout = script.stdout.take().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let keys = script.stdin.take().unwrap();
        Some(Self { script, keys, drawn, seen: String::new() })
    }

    /// Reads until `words` were drawn after this place. All of it together takes no longer than anybody waits: what is drawn
    /// again and again, without them, is no progress.
    #[track_caller]
    fn read_until(&mut self, at: usize, words: &str) {
        let began = Instant::now();
        while !self.seen[at..].contains(words) {
            match self.drawn.recv_timeout(PATIENCE.saturating_sub(began.elapsed())) {
                Ok(bytes) => self.seen += &String::from_utf8_lossy(&bytes),
                Err(error) => panic!("no {words:?} ({error}) in {:?}", &self.seen[at..]),
            }
        }
    }

    /// What was drawn since the last key until `words` were.
    #[track_caller]
    fn until(&mut self, words: &str) -> &str {
        self.read_until(0, words);
        &self.seen
    }

    /// A shell shows these words and then its prompt: what is typed before that may be lost, while it asks the terminal where
    /// the cursor is.
    #[track_caller]
    fn prompts_after(&mut self, words: &str) {
        self.until(words);
        let at = self.seen.find(words).unwrap();
        self.read_until(at, "> ");
    }

    fn press(&mut self, keys: &str) {
        self.seen.clear();
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// The modes that are told next.
    #[track_caller]
    fn modes(&mut self) -> String {
        self.until("modes ");
        let at = self.seen.find("modes ").unwrap();
        self.read_until(at, "\n");
        let line = self.seen[at..].lines().next().unwrap().to_owned();
        self.seen = self.seen[at + line.len()..].to_owned();
        line
    }

    /// `top` ends with this code, and the terminal is as it was.
    #[track_caller]
    fn ends(mut self, code: u8, before: &str) {
        self.until(&format!("code {code}\r"));
        assert_eq!(self.modes(), before);
        drop(self.keys);
        let began = Instant::now();
        while self.script.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < PATIENCE, "the terminal does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn top(words: &str) -> String {
    format!("{} top --every 100ms {words}", env!("CARGO_BIN_EXE_kvctl"))
}

#[test]
fn keys_sort_pause_open_and_leave() {
    let trial = Trial::start(3);
    let Some(mut terminal) = Terminal::open(&trial, &top(""), "xterm") else { return };
    let before = terminal.modes();
    let drawn = terminal.until("[q]uit");
    assert!(drawn.contains("[s]ort: node") && drawn.contains("n3"), "{drawn:?}");
    // Nothing is coloured, so there is nothing for NO_COLOR to take away.
    assert!(drawn.split("\x1b[").skip(1).all(|rest| rest.starts_with(['H', 'K', 'J'])), "{drawn:?}");
    terminal.press("s");
    terminal.until("[s]ort: entries/s");
    terminal.press("\x1b[B");
    terminal.until("> n");
    terminal.press("\r");
    let node = terminal.until("[enter] all nodes").to_owned();
    for word in ["address", "certificate", "version", "hash", "term"] {
        assert!(node.contains(word), "{word}: {node:?}");
    }
    terminal.press("\x1b");
    terminal.until("SLOWEST");
    terminal.press("p");
    terminal.until("PAUSED");
    // It answers keys while it is paused, with what it showed.
    terminal.press("s");
    let paused = terminal.until("[s]ort: lag").to_owned();
    assert!(paused.contains("PAUSED"), "{paused:?}");
    terminal.press("p");
    terminal.until("[p]ause");
    terminal.press("q");
    terminal.ends(0, &before);
}

#[test]
fn the_terminal_is_as_it_was_however_it_ends() {
    let trial = Trial::start(1);
    let Some(mut terminal) = Terminal::open(&trial, &top(""), "xterm") else { return };
    let before = terminal.modes();
    terminal.until("[q]uit");
    terminal.press("\x03");
    terminal.ends(130, &before);

    let mut terminal = Terminal::open(&trial, &top("--count 2"), "xterm").unwrap();
    let before = terminal.modes();
    terminal.ends(0, &before);

    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let line = format!("sh -c 'echo pid $$ end; exec {}'", top(""));
        let mut terminal = Terminal::open(&trial, &line, "xterm").unwrap();
        let before = terminal.modes();
        let drawn = terminal.until(" end");
        let pid = drawn.split("pid ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        terminal.until("[q]uit");
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        terminal.ends(code, &before);
    }
}

#[test]
fn a_dumb_terminal_has_no_keys() {
    let trial = Trial::start(1);
    let Some(mut terminal) = Terminal::open(&trial, &top(""), "dumb") else { return };
    let before = terminal.modes();
    let drawn = terminal.until("code 0\r").to_owned();
    assert!(drawn.contains("SLOWEST") && !drawn.contains("[q]uit") && !drawn.contains('\x1b'), "{drawn:?}");
    terminal.ends(0, &before);
    let mut terminal = Terminal::open(&trial, &top("--count 2 </dev/null"), "xterm").unwrap();
    let before = terminal.modes();
    assert!(!terminal.until("code 0\r").contains("[q]uit"), "nobody is at the keys");
    terminal.ends(0, &before);
}

#[test]
fn a_shell_gets_its_next_line_whole() {
    let trial = Trial::start(1);
    assert_eq!(trial.kvctl(&["set", "k", "value"]).code, Some(0));
    let shell = programs::path("kvshell").display().to_string();
    let Some(mut terminal) = Terminal::open(&trial, &shell, "xterm") else { return };
    let before = terminal.modes();
    terminal.until("> ");
    terminal.press("top --every 100ms\r");
    terminal.until("[q]uit");
    terminal.press("q");
    terminal.until("> ");
    terminal.press("get k | tr a-z A-Z\r");
    terminal.prompts_after("VALUE");
    terminal.press("exit\r");
    terminal.ends(0, &before);
}
