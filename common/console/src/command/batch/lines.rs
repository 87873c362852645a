//! The lines of a batch, read one at a time: each becomes commands, or what is wrong with it.

use std::{
    io::{BufRead, Read as _},
    path::PathBuf,
};

use protocol::RequestId;

use super::step::{Step, grammar, numbered};
use crate::{error::Failure, script};

/// Longest line: the largest value, quoted.
pub(super) const LINE_BYTES: u64 = 4 * 1024 * 1024;

/// A command, or why a piece of the file is none, and the line that it stands in.
#[derive(Debug)]
pub(super) struct Numbered {
    pub(super) line: u64,
    pub(super) step: Result<Step, Failure>,
}

/// A file of commands.
pub(super) struct Lines<R> {
    reader: R,
    path: PathBuf,
    id: Option<RequestId>,
}

impl<R: BufRead> Lines<R> {
    /// Of `reader`, whose name is `path`; `id` is the one of which those of the commands are made.
    pub(super) fn new(reader: R, path: PathBuf, id: Option<RequestId>) -> Self {
        Self { reader, path, id }
    }

    /// Tells one command after the other, until there are no more or nobody listens. A file that cannot be read on is
    /// the last that is told.
    pub(super) fn each(mut self, mut tell: impl FnMut(Result<Numbered, Failure>) -> bool) {
        let (mut bytes, mut line, mut number, mut grammar) = (Vec::new(), 0_u64, 0_u64, grammar());
        loop {
            bytes.clear();
            line = line.saturating_add(1);
            match (&mut self.reader).take(LINE_BYTES.saturating_add(1)).read_until(b'\n', &mut bytes) {
                Ok(0) => return,
                Ok(read) if read as u64 > LINE_BYTES => {
                    let path = self.path.display();
                    let message = format!("line {line} of {path} is longer than {LINE_BYTES} bytes");
                    tell(Err(
                        Failure::usage(message).hint("a large value goes into a file: set KEY --file FILE")
                    ));
                    return;
                }
                Ok(_) => {}
                Err(error) => {
                    tell(Err(Failure::file("read", &self.path, &error)));
                    return;
                }
            }
            let Ok(text) = std::str::from_utf8(&bytes) else {
                let failure = Failure::usage("the line is not UTF-8")
                    .hint("other bytes go into a file: set KEY --file FILE");
                number = number.saturating_add(1);
                if !tell(Ok(Numbered { line, step: Err(failure) })) {
                    return;
                }
                continue;
            };
            for piece in script::steps(text) {
                number = number.saturating_add(1);
                let mut step = Step::parse(&piece, &mut grammar);
                if let (Ok(step), Some(id)) = (&mut step, self.id) {
                    step.identify(numbered(id, number));
                }
                if !tell(Ok(Numbered { line, step })) {
                    return;
                }
            }
        }
    }
}
