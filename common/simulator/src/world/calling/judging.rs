//! Answers as they leave a server: what was asked goes to the watch with each.

use protocol::{Refused, Request, Response, ResponseFrame};

use super::{super::World, asking::asks_quorum};
use crate::watch;

impl World {
    /// Judges an answer as it leaves a server.
    pub(in crate::world) fn judge(&mut self, me: usize, frame: &ResponseFrame) {
        let Some(attempt) = self.attempts.get(&frame.id) else { return };
        assert_eq!(attempt.server, me, "VIOLATION s{me} answers what another was asked");
        if let Ok(response) = &frame.result {
            let asked = match &attempt.request {
                Request::Write { request, operation } => {
                    watch::Asked { write: Some((request.token, operation)), key: &[] }
                }
                Request::Get { key, .. } => watch::Asked { write: None, key },
                Request::Transfer { .. } | Request::Drain { .. } => {
                    if let Response::Leads { leader, term } = response {
                        self.watch.names_leader(me, *leader, *term);
                    }
                    return;
                }
                Request::ChangeMembers(_) => {
                    if let Response::MembersChanged { revision } = response {
                        self.watch.changed_members(me, *revision);
                    }
                    return;
                }
                Request::Leases { after } => {
                    if let Response::Leases(shown) = response {
                        self.watch.shows_leases(me, *after, shown);
                    }
                    return;
                }
                Request::Lease { id, after } => {
                    if let Response::Lease(shown) = response {
                        self.watch.shows_lease(me, (*id, after), shown);
                    }
                    return;
                }
                Request::Scan(_)
                | Request::Watch(_)
                | Request::Save
                | Request::Status
                | Request::Events { .. }
                | Request::CompactLog => return,
            };
            self.watch.answered(me, &asked, response);
        }
        if let (Err(Refused::NoQuorum), Some(under)) = (&frame.result, attempt.under)
            && asks_quorum(&attempt.request)
        {
            self.watch.gave_up(me, under);
        }
    }
}
