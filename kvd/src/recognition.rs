//! Which life of a server speaks. A server votes and acknowledges by what it has on disk, so one whose disk is another, or an
//! older copy of it, would vote a second time and has forgotten what others count on. Its certificate is the same; what
//! tells the lives apart is its *presence*:
//!
//! ```text
//!   incarnation   drawn when its data directories were made      another: it was wiped
//!   boot          counts the starts on them, durably             lower: its disk went back
//!   process       drawn by each start                            another with an equal boot: its disk went back
//! ```
//!
//! Each server greets with its own presence and with what it knows of the other's (`PeerHello`). Both ends judge by the same
//! rule, `judge`: who listens lets nobody in that is not the life it knows, so nothing that such a one says
//! gets to the core; and who is not recognised learns so, says so, and neither sends nor takes anything while nobody
//! recognises it. The core knows nothing of all this.
//!
//! What is known of a server is the incarnation that was recorded with it, in the log, when it was added or admitted again
//! (`MemberRecord`); and else whatever it was when it was first heard here. That and the latest boot are kept in a small file
//! (`guard.rs`), written when a peer was started anew and before anything it says is taken. So whatever was done here on
//! its word was done knowing which life it was.
//!
//! **What this does not see.** A server that is wiped before some other one has ever heard it is new to that one. Every server dials
//! every other, so that takes a disk lost within moments of its first start, or one that never was in the same part of
//! a network. And a disk that went back to a copy is as good as new to servers that never heard the later boots: also a copy
//! made since the last start, for its next start is a later one.

use protocol::Presence;

mod boots;
mod guard;

pub use boots::BootsError;
pub(crate) use boots::present;
pub(crate) use guard::{Guard, Turn};

/// What becomes of a greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The process that is known.
    Same,
    /// A later start of what is known, or somebody of whom nothing is known: to be kept, and then let in.
    New,
    /// Other data directories than those that are known.
    Wiped,
    /// The data directories that are known, as they were earlier.
    Rewound,
}

impl Verdict {
    /// Whether it is who is known.
    pub(crate) fn recognises(self) -> bool {
        matches!(self, Self::Same | Self::New)
    }
}

/// Judges who `speaks` by what is `known` of that server.
pub(crate) fn judge(known: Option<Presence>, speaks: Presence) -> Verdict {
    let Some(known) = known else { return Verdict::New };
    if known.incarnation != speaks.incarnation {
        return Verdict::Wiped;
    }
    match (speaks.boot.cmp(&known.boot), speaks.process == known.process) {
        (std::cmp::Ordering::Greater, _) => Verdict::New,
        (std::cmp::Ordering::Equal, true) => Verdict::Same,
        _ => Verdict::Rewound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_greeting_is_judged_by_what_is_known() {
        let incarnations = [[1; 16], [2; 16]];
        let lives = incarnations.into_iter().flat_map(|incarnation| {
            (0..4).flat_map(move |boot| (0..3).map(move |process| Presence { incarnation, boot, process }))
        });
        let lives: Vec<_> = lives.collect();
        for speaks in &lives {
            assert_eq!(judge(None, *speaks), Verdict::New, "a stranger");
            for known in &lives {
                let expected = if known.incarnation != speaks.incarnation {
                    Verdict::Wiped
                } else if known == speaks {
                    Verdict::Same
                } else if speaks.boot > known.boot {
                    Verdict::New
                } else {
                    Verdict::Rewound
                };
                assert_eq!(judge(Some(*known), *speaks), expected, "{known:?} {speaks:?}");
            }
        }
    }

    #[test]
    fn an_incarnation_that_is_only_recorded_lets_every_boot_in() {
        let recorded = Presence { incarnation: [1; 16], boot: 0, process: 0 };
        let first = Presence { boot: 1, process: 9, ..recorded };
        assert_eq!(judge(Some(recorded), first), Verdict::New);
        assert_eq!(judge(Some(first), first), Verdict::Same);
        assert_eq!(judge(Some(first), Presence { process: 8, ..first }), Verdict::Rewound);
    }
}
