//! `begin` … `commit`: a transaction that is typed line by line and sent as one. Until `commit` nothing leaves the shell,
//! so `rollback`, a lost connection and the end of the input leave nothing behind.
//!
//! A line is `if COMPARE`, `else STEP` or a step, as `txn` takes them; each is checked when it is typed. A person sees that
//! one was refused and types it again. In a script nobody does, and the lines around it may not be safe without it: there
//! one refused line means that `commit` does nothing.

use console::{Exit, Failure, usage};

use super::{Shell, say};

/// Most lines of one transaction: more than it can have steps and compares.
const LINES: usize = 1024;

/// What was typed since `begin`, as the words of `txn`.
#[derive(Debug)]
pub(super) struct Open {
    words: Vec<String>,
    /// A line was refused and nobody saw it.
    broken: bool,
}

impl Shell {
    /// Does what this line means to a transaction; `None` where it means nothing to one.
    pub(super) fn transact(&mut self, line: &str, pipe: Option<&str>) -> Option<Exit> {
        let is_open = self.open.is_some();
        let failed = match line {
            "begin" | "commit" | "rollback" if (line == "begin") == is_open => {
                Failure::usage(if is_open { "a transaction is open" } else { "no transaction is open" })
                    .hint("`begin` opens one, `commit` does it, `rollback` forgets it")
            }
            "begin" => {
                self.open = Some(Open { words: vec!["txn".to_owned()], broken: false });
                return Some(Exit::Success);
            }
            "commit" => match self.open.take() {
                Some(open) if !open.broken => return Some(self.command(open.words, pipe)),
                _ => Failure::usage("a line of the transaction was refused; nothing of it was done"),
            },
            "rollback" => {
                self.open = None;
                say("nothing was done");
                return Some(Exit::Success);
            }
            _ if !is_open || is_help(line) => return None,
            _ if pipe.is_some() => Failure::usage("a step of a transaction has no output")
                .hint("`commit | LOCAL` sends on what all steps found"),
            _ => return Some(self.add(line)),
        };
        Some(self.screen().show(&Err(failed)))
    }

    /// The failure of leaving with a transaction that was begun.
    pub(super) fn abandoned(&mut self) -> Option<Failure> {
        self.open.take().map(|_| {
            Failure::usage("a transaction was begun and not committed; nothing of it was done")
                .hint("`commit` at its end")
        })
    }

    /// A line was refused. Where nobody saw that, `commit` must not do the others without it.
    pub(super) fn spoil(&mut self) {
        if let Some(open) = &mut self.open {
            open.broken |= !self.conversing;
        }
    }

    fn add(&mut self, line: &str) -> Exit {
        let (flag, text) = match line.split_once(char::is_whitespace) {
            Some(("if", compare)) => ("--if", compare),
            Some(("else", step)) => ("--else", step),
            _ => ("--then", line),
        };
        let added = [flag.to_owned(), text.trim().to_owned()];
        let alone: Vec<String> = ["txn".to_owned()].into_iter().chain(added.clone()).collect();
        if let Err(error) = self.parse(&alone) {
            // Also a line that asks for help, which is answered with success, is missing then.
            self.spoil();
            return usage::answer(&error, &alone);
        }
        let Some(open) = &mut self.open else { return Exit::Success };
        if open.words.len() / 2 >= LINES {
            let failure = Failure::usage(format!("a transaction has at most {LINES} lines"))
                .hint("`commit` what there is, or `rollback`");
            return self.screen().show(&Err(failure));
        }
        open.words.extend(added);
        Exit::Success
    }
}

fn is_help(line: &str) -> bool {
    line == "help" || line.starts_with("help ")
}
