//! What happened, as one number and, when a person asks, as lines.
//!
//! Two runs of one seed and one commit must give one number: everything that happens is mixed into it, in order. The
//! lines are made only for a replay.

use std::fmt;

/// The record of a run.
pub struct Trace {
    hash: u64,
    events: u64,
    aloud: bool,
}

impl Trace {
    /// An empty record, told as it happens when `aloud`.
    pub fn new(aloud: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, events: 0, aloud }
    }

    /// Mixes an event in: when, what kind, and what tells it from others of its kind.
    pub fn note(&mut self, at: u64, kind: u64, detail: u64) {
        for word in [at, kind, detail] {
            self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
        self.events += 1;
    }

    /// Tells a person, if one listens.
    #[allow(clippy::print_stdout, reason = "a replay is read on a terminal")]
    pub fn say<T: fmt::Display>(&self, at: u64, line: impl FnOnce() -> T) {
        if self.aloud {
            println!("{:>12.6} {}", std::time::Duration::from_micros(at).as_secs_f64(), line());
        }
    }

    /// The number.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events it is made of.
    pub fn events(&self) -> u64 {
        self.events
    }
}

/// A number for some bytes.
pub fn digest(bytes: &[u8]) -> u64 {
    let mut hash = 0x9e37_79b9_7f4a_7c15_u64 ^ bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(31);
    }
    hash ^ (hash >> 32)
}
