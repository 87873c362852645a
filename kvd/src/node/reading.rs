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
            Consistency::Linearizable => {
                self.read(WaitingRead { caller, wanted: Wanted::View, deadline_ms });
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
            (Ok(()), None) => self.read(WaitingRead { caller, wanted: Wanted::View, deadline_ms }),
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

    pub(super) fn read(&mut self, read: WaitingRead) {
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
            let Some(WaitingRead { caller, wanted, deadline_ms }) = self.waiting.take_read(*id) else {
                continue;
            };
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
        let revision = named.0;
        self.reply(caller, Ok(Response::Value { found, revision }));
        Ok(())
    }
}
