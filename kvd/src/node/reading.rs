//! Reads: looked up at once, or once the core has said that it is safe; a scan reads from a view that is taken then, and a
//! watch begins with one.

use protocol::{Consistency, Response, Scan, Watch, response::Found};
use raft::{ReadId, Refusal};

use super::{Node, refused};
use crate::{
    event::{Action, Caller},
    instruments::{Mark, Mutant, mark, mutant},
    state::{StateError, view::View},
    waiting::{WaitingRead, Wanted},
};

impl Node {
    /// A scan is served from a view that is taken as any read is looked up: at once, or when the core has released it.
    pub(super) fn scan(&mut self, caller: Caller, scan: &Scan, deadline_ms: u64) {
        if let Err(error) = scan.check() {
            mark(Mark::RequestInvalid);
            return self.reply(caller, Err(refused(&error)));
        }
        match scan.consistency {
            Consistency::Stale => self.view(caller),
            Consistency::Linearizable if mutant(Mutant::NodeScansAtOnce) => self.view(caller),
            Consistency::Within(most_ms) if self.is_fresh(most_ms) => self.view(caller),
            Consistency::Linearizable | Consistency::Within(_) => {
                self.read(caller, Wanted::View, deadline_ms);
            }
        }
    }

    /// A watch begins after the revision that it names, or after that of a view which is taken as for a scan: then it misses
    /// nothing that was not acknowledged before.
    pub(super) fn watch(&mut self, caller: Caller, watch: &Watch, deadline_ms: u64) {
        match (watch.check(), watch.after) {
            (Err(error), _) => {
                mark(Mark::RequestInvalid);
                self.reply(caller, Err(refused(&error)));
            }
            (Ok(()), Some(_)) => self.view(caller),
            (Ok(()), None) => self.read(caller, Wanted::View, deadline_ms),
        }
    }

    /// All rows and changes at [`Node::applied`], for those who have begun.
    pub(crate) fn look(&self) -> View {
        self.state.view()
    }

    pub(super) fn view(&mut self, caller: Caller) {
        let view = Box::new(self.state.view().at_time(self.clock.at(self.now)));
        self.actions.push(Action::View { caller, view });
    }

    pub(super) fn read(&mut self, caller: Caller, wanted: Wanted, deadline_ms: u64) {
        if let Some(leader) = self.reads_elsewhere() {
            mark(Mark::ReadWithoutRoom);
            let refused = self.redirect(Some(leader));
            return self.reply(caller, Err(refused));
        }
        let read = WaitingRead { caller, wanted, asked_ms: self.now.monotonic_ms, deadline_ms };
        let id = self.waiting.next_read();
        match self.raft.read(id) {
            Ok(()) => self.waiting.read(id, read),
            Err(refusal) => {
                if matches!(refusal, Refusal::Busy) {
                    mark(Mark::ReadBusy);
                }
                self.refuse(read.caller, refusal, "the queue of reads");
            }
        }
    }

    pub(super) fn serve_reads(&mut self, ids: &[ReadId]) -> Result<(), StateError> {
        for id in ids {
            let Some(WaitingRead { caller, wanted, asked_ms, deadline_ms }) = self.waiting.take_read(*id)
            else {
                continue;
            };
            self.confirmed_ms = self.confirmed_ms.max(Some(asked_ms));
            match wanted {
                Wanted::Key { key, without_value } => self.look_up(caller, &key, without_value)?,
                Wanted::View => self.view(caller),
                Wanted::State => self.save(caller, deadline_ms),
                Wanted::Leases { after } => self.show_leases(caller, after),
                Wanted::Lease { id, after } => self.show_lease(caller, id, &after),
            }
        }
        Ok(())
    }

    pub(super) fn fail_read(&mut self, id: ReadId) {
        let Some(read) = self.waiting.take_read(id) else { return };
        mark(Mark::ReadFailed);
        if !mutant(Mutant::NodeFailsSilently) {
            let refused = self.not_leader();
            self.reply(read.caller, Err(refused));
        }
    }

    pub(super) fn look_up(
        &mut self,
        caller: Caller,
        key: &[u8],
        without_value: bool,
    ) -> Result<(), StateError> {
        let mut found = self.state.get(key)?;
        if let Some(Found { value, .. }) = found.as_mut().filter(|_| without_value) {
            value.clear();
        }
        if let Some(found) = &mut found {
            self.show_time_left(found);
        }
        let named = if mutant(Mutant::NodeNamesCommit) {
            self.raft.status().commit
        } else {
            self.state.applied().index
        };
        let (revision, staleness_ms) = (named.0, self.staleness_ms());
        self.reply(caller, Ok(Response::Value { found, revision, staleness_ms }));
        Ok(())
    }

    /// How old the state can be: it has everything that was acknowledged before the newest of the reads was asked for
    /// which the core has released. Nothing is known before there was one.
    fn staleness_ms(&self) -> Option<u64> {
        self.confirmed_ms.map(|asked_ms| self.now.monotonic_ms.saturating_sub(asked_ms))
    }

    /// Whether the state is known to be younger than that. Where it is not, a read waits for the core as a linearizable one
    /// does, and so do not those that come after it within that time: one round serves them all.
    pub(super) fn is_fresh(&self, most_ms: u64) -> bool {
        self.staleness_ms().is_some_and(|staleness_ms| staleness_ms < most_ms)
    }
}
