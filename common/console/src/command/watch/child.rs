//! A command that is run for an event, as `env` would run it: its status is ours.

use std::{ffi::OsString, io::Write as _, process::Stdio};

use protocol::watch::Event;

use super::show::kind;
use crate::{
    command::exec::{about, cannot_run, code},
    error::Failure,
    text,
};

/// Runs it with the event in its environment and the value on its standard input, and waits for its end. Returns its
/// status where that is no success.
pub(super) fn run(command: &[OsString], event: &Event) -> Result<Option<u8>, Failure> {
    let (mut child, program) = about(command, &event.key)?;
    child.stdin(Stdio::piped()).env("KV_EVENT", kind(event));
    child.env("KV_REV", event.revision.to_string()).env("KV_KEY_B64", text::base64(&event.key));
    let mut child = child.spawn().map_err(|error| cannot_run(program, &error))?;
    if let (Some(mut input), Some(found)) = (child.stdin.take(), &event.found) {
        // A command that does not want to know the value closes it, or ends.
        let _ = input.write_all(&found.value);
    }
    let status = child.wait().map_err(|error| cannot_run(program, &error))?;
    Ok((!status.success()).then(|| code(status)))
}

#[cfg(test)]
mod tests {
    use protocol::response::Found;

    use super::*;
    use crate::exit::Exit;

    fn event(key: &[u8], value: Option<&[u8]>) -> Event {
        let found = value.map(|value| Found {
            value: value.to_vec(),
            revision: 7,
            created: 5,
            version: 2,
            lease: None,
        });
        let key = key.to_vec();
        Event {
            key,
            revision: 7,
            found,
            previous: None,
            previous_left_out: false,
            wall_ms: 0,
            expired: false,
        }
    }

    /// What a script leaves in a file, and with what it ends.
    fn script(script: &str, event: &Event) -> (Option<u8>, String) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("out");
        let words = ["sh", "-c", script, "sh"].map(OsString::from);
        let status = run(&[&words[..], &[path.clone().into_os_string()]].concat(), event).unwrap();
        (status, std::fs::read_to_string(path).unwrap_or_default())
    }

    #[test]
    fn a_command_hears_of_the_event_and_its_status_counts() {
        let put = event(b"app/mode", Some(b"blue"));
        let told = r#"echo "$KV_KEY $KV_KEY_B64 $KV_EVENT $KV_REV $(cat)" > "$1""#;
        assert_eq!(script(told, &put), (None, "app/mode YXBwL21vZGU= put 7 blue\n".to_owned()));
        let gone = event(b"a\0b", None);
        assert_eq!(script(told, &gone), (None, " YQBi delete 7 \n".to_owned()));
        assert_eq!(script("exit 3", &put).0, Some(3));
        assert_eq!(script("kill -9 $$", &put).0, Some(137));
        let large = event(b"k", Some(&vec![b'x'; 512 * 1024]));
        assert_eq!(script("exit 0", &large).0, None, "it need not read");
    }

    #[test]
    fn what_cannot_be_run_is_told_apart_as_env_does() {
        let exit = |program: &str| run(&[program.into()], &event(b"k", None)).unwrap_err().exit;
        assert_eq!((exit("no-such-program-anywhere"), exit("/")), (Exit::Chosen(127), Exit::Chosen(126)));
    }
}
