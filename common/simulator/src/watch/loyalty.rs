//! Who hears a leader does not help to depose it, nor enters the term of whoever tries (thesis 4.2.3), unless
//! that leader wants it so. A leader hears itself: it gives up when it misses its majority, or is told of a later term.
//!
//! It is judged where what a server took in is known message by message: in runs whose turns are of one.

use raft::{Envelope, Message, RoleName, Status};

use super::Watch;
use crate::server::{ELECTION_TICKS, TICK};

/// So long after it was heard a leader is heard for certain: the shortest election timeout as the fastest clock has it,
/// less what a tick may be early.
const FOR_CERTAIN: u64 = (ELECTION_TICKS as u64 - 2) * TICK * 9 / 10;

/// When each server last heard the leader of which term.
pub(super) struct Loyalty(Vec<Option<(u64, u64)>>);

impl Loyalty {
    pub(super) fn new(servers: usize) -> Self {
        Self(vec![None; servers])
    }

    /// A process that has just begun has heard nobody.
    pub(super) fn restarted(&mut self, me: usize) {
        self.0[me] = None;
    }
}

impl Watch {
    /// Server `me` took in this one message at `now`, and was as `before` says.
    pub fn took(&mut self, me: usize, now: u64, envelope: &Envelope, before: &Status, after: &Status) {
        let heard = &mut self.loyalty.0[me];
        match envelope.message {
            Message::Append { .. } | Message::Heartbeat { .. }
                if envelope.term == after.term && after.role == RoleName::Follower =>
            {
                *heard = Some((after.term.0, now));
            }
            Message::Vote { handed: false, .. } if before.role == RoleName::Leader => {
                assert!(
                    after.term == before.term,
                    "VIOLATION s{me} leads term {} and enters {} for a candidate",
                    before.term,
                    after.term
                );
            }
            Message::Vote { handed: false, .. } if envelope.term > before.term => {
                let since = heard.filter(|(term, _)| *term == before.term.0).map(|(_, at)| now - at);
                assert!(
                    since.is_none_or(|since| since >= FOR_CERTAIN) || after.term == before.term,
                    "VIOLATION s{me} enters term {} for a candidate, and heard its leader {since:?} µs ago",
                    after.term
                );
            }
            _ => {}
        }
    }
}
