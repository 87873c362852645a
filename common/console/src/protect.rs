//! Changes to the wrong cluster, prevented: a context that says `protected = true` wants its name from whoever changes
//! anything through it. `kvctl` takes it from `--confirm NAME`, or asks for it where a person sits; `kvshell` is
//! read-only until `\\writable`.
//!
//! A `--confirm` that names another context than the one that is used is refused whether or not that one is protected:
//! whoever wrote it meant another cluster.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use crate::{error::Failure, exit::Exit};

/// Longest line that is read as a confirmation.
const LINE_BYTES: u64 = 1024;

/// Who may confirm beside the flag.
pub enum Asking<'a> {
    /// Nobody.
    Nobody,
    /// This, which is given the name of the context and says what was typed; `None` where it cannot ask.
    Person(&'a mut dyn FnMut(&str) -> Option<String>),
    /// The shell, and whether it may change this very context.
    Shell(bool),
}

/// Lets a change to the cluster of a context through, or refuses it. `confirm` is that of `--confirm`.
pub fn allow(name: &str, protected: bool, confirm: Option<&str>, asking: Asking<'_>) -> Result<(), Failure> {
    if let Some(confirmed) = confirm {
        return if confirmed == name { Ok(()) } else { Err(mistaken(name, confirmed)) };
    }
    if !protected {
        return Ok(());
    }
    match asking {
        Asking::Nobody => Err(unconfirmed(name)),
        Asking::Person(ask) => match ask(name) {
            Some(typed) if typed.trim() == name => Ok(()),
            Some(typed) => Err(mistaken(name, typed.trim())),
            None => Err(unconfirmed(name)),
        },
        Asking::Shell(true) => Ok(()),
        Asking::Shell(false) => Err(read_only(name)),
    }
}

/// Asks on the terminal, where there is one.
pub fn ask(name: &str) -> Option<String> {
    typed(&format!("{name} is a protected context. Its name, to go on: "))
}

/// Whether somebody can be asked.
pub(crate) fn is_attended() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// What somebody types when asked, where there is anybody.
pub(crate) fn typed(question: &str) -> Option<String> {
    if !is_attended() {
        return None;
    }
    let mut typed = String::new();
    write!(io::stderr(), "{question}").ok()?;
    io::stdin().lock().take(LINE_BYTES).read_line(&mut typed).ok()?;
    Some(typed)
}

fn mistaken(name: &str, confirmed: &str) -> Failure {
    let message = match (name, confirmed) {
        ("", _) => format!("`{confirmed}` is confirmed and no context is used; nothing was done"),
        (_, "") => format!("the protected context {name} was not confirmed; nothing was done"),
        _ => format!("`{confirmed}` is confirmed and the context is {name}; nothing was done"),
    };
    Failure::new(Exit::Declined, "KV-1121", "not_confirmed", message)
        .hint("`kvctl config view --origin` shows which context is meant and who names it")
}

fn unconfirmed(name: &str) -> Failure {
    let message = format!("{name} is a protected context; nothing was done");
    Failure::new(Exit::Declined, "KV-1120", "protected", message)
        .hint(format!("the same command with --confirm {name}, if that is the cluster you mean"))
}

fn read_only(name: &str) -> Failure {
    let message = format!("{name} is a protected context and this shell only reads it; nothing was done");
    Failure::new(Exit::Declined, "KV-1120", "protected", message)
        .hint(format!("`\\writable` lets this shell change it, `--confirm {name}` this one command"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(result: Result<(), Failure>) -> &'static str {
        result.err().map_or("ok", |failure| failure.code)
    }

    fn answered(text: Option<&str>) -> &'static str {
        let mut asked = 0;
        let mut person = |name: &str| {
            asked += 1;
            assert_eq!(name, "prod");
            text.map(str::to_owned)
        };
        let result = code(allow("prod", true, None, Asking::Person(&mut person)));
        assert_eq!(asked, 1);
        result
    }

    #[test]
    fn only_the_name_of_the_context_confirms() {
        assert_eq!(code(allow("prod", true, Some("prod"), Asking::Nobody)), "ok");
        assert_eq!(code(allow("prod", true, None, Asking::Nobody)), "KV-1120");
        for wrong in ["", "Prod", "dev", "prod "] {
            assert_eq!(code(allow("prod", true, Some(wrong), Asking::Nobody)), "KV-1121", "{wrong:?}");
        }
        assert_eq!(code(allow("dev", false, None, Asking::Nobody)), "ok");
        assert_eq!(code(allow("dev", false, Some("prod"), Asking::Nobody)), "KV-1121", "another is meant");
        assert_eq!(code(allow("", false, Some("prod"), Asking::Nobody)), "KV-1121");
    }

    #[test]
    fn a_person_is_asked_once_and_types_it() {
        assert_eq!(answered(Some("prod\n")), "ok");
        assert_eq!(answered(Some("y\n")), "KV-1121");
        assert_eq!(answered(Some("")), "KV-1121");
        assert_eq!(answered(None), "KV-1120");
    }

    #[test]
    fn a_shell_reads_until_it_is_writable() {
        assert_eq!(code(allow("prod", true, None, Asking::Shell(false))), "KV-1120");
        assert_eq!(code(allow("prod", true, None, Asking::Shell(true))), "ok");
        assert_eq!(code(allow("prod", true, Some("dev"), Asking::Shell(true))), "KV-1121");
        assert_eq!(code(allow("dev", false, None, Asking::Shell(false))), "ok");
    }
}
