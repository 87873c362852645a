//! Single keys of a terminal, for what is shown in place: no Enter is waited for and nothing typed is echoed.
//!
//! The modes of the terminal are changed for as long as a [`Keys`] lives, and are what they were however that ends: when it
//! is dropped, when the process is told to end, when it panics. Only SIGKILL leaves them. Ctrl-C is a key meanwhile, so that
//! nothing ends before the terminal is put back; Ctrl-Z does nothing.
//!
//! A thread reads, a tenth of a second at a time, and ends with it: one that went on would take the first key of the next
//! line of a shell.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read as _},
    os::fd::AsFd as _,
    sync::{
        Arc, Mutex, Once, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// Keys typed ahead of whoever takes them; more are lost.
const AHEAD: usize = 16;
/// Reads that come back empty and at once, after which nobody is at the terminal any more.
const HUNG_UP: u32 = 10;

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A letter.
    Char(char),
    /// Enter.
    Enter,
    /// Escape.
    Escape,
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Ctrl-C.
    Interrupt,
}

/// See the module.
pub(crate) struct Keys {
    typed: mpsc::Receiver<Key>,
    over: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

/// The modes to go back to, while others hold.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

impl Keys {
    /// Of standard input; `None` where that is no terminal, or one that does not let itself be changed.
    pub(crate) fn open() -> Option<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let terminal = File::from(stdin.as_fd().try_clone_to_owned().ok()?);
        let before = tcgetattr(&terminal).ok()?;
        mind_the_end();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before.clone());
        // From here on a drop puts the terminal back.
        let (sender, typed) = mpsc::channel(AHEAD);
        let over = Arc::new(AtomicBool::new(false));
        let mut keys = Self { typed, over: Arc::clone(&over), reader: None };
        tcsetattr(&terminal, OptionalActions::Now, &single_keys(before)).ok()?;
        let read = move || read(terminal, &over, &sender);
        keys.reader = Some(std::thread::Builder::new().name("keys".to_owned()).spawn(read).ok()?);
        Some(keys)
    }

    /// The next; `None` when nobody is there to press one.
    pub(crate) async fn next(&mut self) -> Option<Key> {
        self.typed.recv().await
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        if let Some(reader) = self.reader.take() {
            // It ends within a tenth of a second; how matters to nobody.
            let _ = reader.join();
        }
        restore();
    }
}

fn single_keys(mut modes: Termios) -> Termios {
    modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN);
    modes.input_modes.remove(InputModes::IXON);
    // A read waits for a tenth of a second at most.
    modes.special_codes[SpecialCodeIndex::VMIN] = 0;
    modes.special_codes[SpecialCodeIndex::VTIME] = 1;
    modes
}

fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // A terminal that is gone needs nothing. Keys that nobody took are not for whatever comes next.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &before);
    }
}

/// Once for the process, which then ends by these signals as it would have without, after the terminal was put back.
/// SIGINT is left to whoever waits for keys.
fn mind_the_end() {
    static MINDED: Once = Once::new();
    MINDED.call_once(|| {
        let kinds = [(SignalKind::hangup(), 129), (SignalKind::quit(), 131), (SignalKind::terminate(), 143)];
        for (kind, code) in kinds {
            let Ok(mut coming) = signal(kind) else { continue };
            tokio::spawn(async move {
                if coming.recv().await.is_some() {
                    restore();
                    std::process::exit(code);
                }
            });
        }
        let then = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            then(panic);
        }));
    });
}

fn read(mut terminal: File, over: &AtomicBool, keys: &mpsc::Sender<Key>) {
    let (mut bytes, mut empty) = ([0; 64], 0_u32);
    while !over.load(Relaxed) && empty < HUNG_UP {
        let began = Instant::now();
        match terminal.read(&mut bytes) {
            Ok(0) if began.elapsed() < Duration::from_millis(20) => empty = empty.saturating_add(1),
            Ok(0) => empty = 0,
            Ok(count) => {
                empty = 0;
                for key in parse(bytes.get(..count).unwrap_or_default()) {
                    let _ = keys.try_send(key);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// What one read brought. The bytes of an arrow come together; what is not known is nothing.
fn parse(mut bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    loop {
        let key = match bytes {
            [] => return keys,
            [0x1b, b'[' | b'O', b'A', ..] => Some((Key::Up, 3)),
            [0x1b, b'[' | b'O', b'B', ..] => Some((Key::Down, 3)),
            // Another key with a name that is not known: all of it.
            [0x1b, b'[' | b'O', ..] => None,
            [0x1b, ..] => Some((Key::Escape, 1)),
            [b'\r' | b'\n', ..] => Some((Key::Enter, 1)),
            [0x03, ..] => Some((Key::Interrupt, 1)),
            [byte @ 0x20..=0x7e, ..] => Some((Key::Char(char::from(*byte)), 1)),
            [_, rest @ ..] => {
                bytes = rest;
                continue;
            }
        };
        let Some((key, length)) = key else { return keys };
        keys.push(key);
        bytes = bytes.get(length..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_by_their_bytes() {
        assert_eq!(parse(b"sq\r"), [Key::Char('s'), Key::Char('q'), Key::Enter]);
        assert_eq!(parse(b"\x1b[A\x1bOB\n"), [Key::Up, Key::Down, Key::Enter]);
        assert_eq!(parse(b"\x1b"), [Key::Escape]);
        assert_eq!(parse(b"\x03"), [Key::Interrupt]);
        assert_eq!(parse(b"\x1b[15~"), [], "F5 is no letter and no tilde");
        assert_eq!(parse("ü\x1a\0p".as_bytes()), [Key::Char('p')]);
        assert_eq!(parse(b""), []);
    }
}
