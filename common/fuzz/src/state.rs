//! A state that a peer sends: blocks of anything, taken as a follower takes them.
//!
//! ```text
//! input   what to mend u8 │ block │ block │ …
//! block   length u16 │ so many bytes
//! ```
//!
//! Whatever comes, it is refused, or it is a whole state, which then can be made current and be read.

use std::{path::Path, sync::Arc};

use kvd::{
    snapshot::{Progress, Receiving},
    state::{Install, State, StateLimits},
};
use protocol::ClusterId;

use crate::{disk::Memory, input::Input, seal};

const CLUSTER: ClusterId = ClusterId([7; 16]);

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let Some(mends) = input.byte() else { return };
    let limits = StateLimits { cache_bytes: 64 * 1024, request_ids: 12, ..StateLimits::default() };
    let state = State::open(Arc::new(Memory::default()), Path::new("/state"), CLUSTER, limits);
    let state = state.expect("a disk that loses nothing takes a new state");
    let mut receiving: Option<Box<Receiving>> = None;
    while let Some(length) = input.short() {
        let mut block = input.bytes(usize::from(length)).to_vec();
        if mends % 2 == 1 {
            seal::block(&mut block);
        }
        receiving = match receiving.take() {
            None => match state.receiver().begin(&block) {
                Ok(begun) => Some(Box::new(begun)),
                Err(_) => return,
            },
            Some(coming) => match coming.take(&block) {
                Ok(Progress::More(more)) => Some(more),
                Ok(Progress::Whole(received)) => {
                    let at = received.position();
                    let installed = Install::new(received).run().expect("what is whole opens");
                    assert_eq!(installed.into_state().applied(), at, "it is what it says");
                    return;
                }
                Err(_) => return,
            },
        };
    }
}
