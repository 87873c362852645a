//! How far a long command has come, on stderr, and only where that is a terminal: a line that is drawn over itself.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use crate::text;

/// Least time between two drawings.
const PAUSE: Duration = Duration::from_millis(200);

/// See the module.
pub(crate) struct Progress {
    what: &'static str,
    shown: bool,
    began: Instant,
    drawn: Instant,
    rows: u64,
    bytes: u64,
}

impl Progress {
    /// Nothing is drawn before the first pause is over, and nothing at all to who wants data only.
    pub(crate) fn new(what: &'static str, quiet: bool) -> Self {
        let began = Instant::now();
        let shown = !quiet && io::stderr().is_terminal();
        Self { what, shown, began, drawn: began, rows: 0, bytes: 0 }
    }

    /// One more row of so many bytes.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.rows = self.rows.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes as u64);
        // The clock is not looked at for every row.
        if self.rows.is_multiple_of(64) {
            self.draw();
        }
    }

    fn draw(&mut self) {
        if self.shown && self.drawn.elapsed() >= PAUSE {
            self.drawn = Instant::now();
            let line = line(self.what, self.rows, self.bytes, self.began.elapsed());
            // Where stderr is gone nobody misses it.
            let _ = write!(io::stderr(), "\r{line}\x1b[K");
        }
    }

    /// These words, in the place of what was said before.
    pub(crate) fn say(&mut self, words: &str) {
        if self.shown && self.drawn.elapsed() >= PAUSE {
            self.drawn = Instant::now();
            let _ = write!(io::stderr(), "\r{}\x1b[K", text::printable(words));
        }
    }

    /// So many rows and bytes by now.
    pub(crate) fn reached(&mut self, rows: u64, bytes: u64) {
        (self.rows, self.bytes) = (rows, bytes);
        self.draw();
    }

    /// Takes the line away.
    pub(crate) fn end(&mut self) {
        if std::mem::replace(&mut self.shown, false) && self.drawn != self.began {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

fn line(what: &str, rows: u64, bytes: u64, took: Duration) -> String {
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = rows.saturating_mul(1000).checked_div(millis).unwrap_or(0);
    format!("{what} {rows} keys, {}, {rate}/s", text::size(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_how_much_and_how_fast() {
        assert_eq!(line("imported", 3000, 2048, Duration::from_secs(2)), "imported 3000 keys, 2.0K, 1500/s");
        assert_eq!(line("imported", 1, 1, Duration::ZERO), "imported 1 keys, 1, 1000/s");
    }
}
