//! A report that is shown again and again in its place, or, where nobody looks at a terminal, one after the other.
//!
//! Nothing of the terminal's state is changed here, neither its modes nor its cursor or screen: however the command ends,
//! there is nothing to restore. Who takes keys as well changes modes, and puts them back (`keys`).

use std::{io::Write as _, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::{
    error::Failure,
    listing::Out,
    render::Format,
    report::{Body, Report},
};

/// Goes to the top left.
const HOME: &str = "\x1b[H";
/// Clears what is left of the line.
const REST: &str = "\x1b[K";
/// Clears all that is below.
const BELOW: &str = "\x1b[J";

/// See the module.
pub(super) struct Frames<'o, 'a> {
    out: &'o mut Out<'a>,
    in_place: bool,
}

impl<'o, 'a> Frames<'o, 'a> {
    /// Nothing is shown yet.
    pub(super) fn new(out: &'o mut Out<'a>) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let in_place = out.screen.terminal && out.screen.format == Format::Table && !dumb;
        Self { out, in_place }
    }

    /// Whether somebody looks at it, for whom it can go on until they have seen enough.
    pub(super) fn is_in_place(&self) -> bool {
        self.in_place
    }

    /// Shows what `next` makes, again and again with this time between two beginnings, `count` times or without an end.
    /// Trouble that passes is shown like anything else, for who looks wants to see the end of it; all other is the end.
    pub(super) async fn run(
        mut self,
        every: Duration,
        count: Option<u64>,
        mut next: impl AsyncFnMut() -> Result<Report, Failure>,
    ) -> Result<Report, Failure> {
        let mut shown = 0_u64;
        loop {
            let began = Instant::now();
            let frame = next().await;
            shown = shown.saturating_add(1);
            let is_last = count.is_some_and(|count| shown >= count);
            if frame.as_ref().is_err_and(|failure| is_last || !failure.exit.is_retryable()) {
                return frame;
            }
            self.show(&frame)?;
            if let Ok(report) = frame
                && is_last
            {
                return Ok(Report { body: Body::Hidden, note: None, ..report });
            }
            sleep_until(began.checked_add(every).unwrap_or(began)).await;
        }
    }

    /// Shows one.
    pub(super) fn show(&mut self, frame: &Result<Report, Failure>) -> Result<(), Failure> {
        let (mut data, mut beside) = (Vec::new(), Vec::new());
        self.out.screen.show_on(frame, &mut data, &mut beside);
        if self.in_place {
            data.append(&mut beside);
            data = in_place(&data);
        }
        let written = self.out.stream.write_all(&data).and_then(|()| self.out.stream.flush());
        // Where stderr is gone nobody misses what is said there.
        let _ = std::io::stderr().write_all(&beside);
        written.map_err(|error| Failure::stream("cannot write to stdout", &error))
    }
}

/// The text over what was there before.
fn in_place(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text).replace('\n', &[REST, "\n"].concat());
    [HOME, &text, BELOW].concat().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{exit::Exit, render::Screen, report::Document};

    /// What is shown of a word, of trouble that passes, of another word, and of what would have come after.
    fn shown(terminal: bool, format: Format) -> (String, Result<Report, Failure>) {
        let screen = Screen { format, terminal, color: false, quiet: false };
        let mut bytes = Vec::new();
        let mut out = Out { screen, stream: &mut bytes };
        let frames = Frames { in_place: terminal, ..Frames::new(&mut out) };
        let mut words = ["a", "", "b", "c"].into_iter();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let end = runtime.block_on(frames.run(Duration::from_millis(1), Some(3), async || {
            match words.next().unwrap() {
                "" => Err(Failure::new(Exit::NoLeader, "KV-0401", "no_leader", "none leads")),
                word => Ok(Report::new(Document::new("x"), Body::Line(vec![word.to_owned()]))),
            }
        }));
        (String::from_utf8(bytes).unwrap(), end)
    }

    #[test]
    fn a_frame_takes_the_place_of_the_one_before() {
        let (text, end) = shown(true, Format::Table);
        let frames = ["a", "error: none leads   KV-0401", "b"];
        assert_eq!(text, frames.map(|frame| format!("\x1b[H{frame}\x1b[K\n\x1b[J")).concat());
        assert_eq!(end.unwrap().body, Body::Hidden, "it has been shown");
    }

    #[test]
    fn off_a_terminal_each_stands_for_itself() {
        assert_eq!(shown(false, Format::Plain).0, "a\nb\n");
        assert_eq!(shown(false, Format::Ndjson).0, "{\"schema\":\"kvctl.x/v1\"}\n".repeat(2));
    }
}
