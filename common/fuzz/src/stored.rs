//! What the state and a node's identity look like on disk. These decoders are private to `kvd`, which shows them to the
//! fuzzed build only; the first byte chooses one.

use crate::input::Input;

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let Some(choice) = input.byte() else { return };
    match choice % 5 {
        0 => {
            kvd::fuzzing::row(input.0);
            kvd::fuzzing::lease(input.0);
        }
        1 => {
            if let (Some(limit), Some(floor)) = (input.byte(), input.byte()) {
                kvd::fuzzing::request_ids(usize::from(limit) + 1, floor.into(), input.0);
            }
        }
        2 => kvd::fuzzing::change(input.0),
        3 => kvd::fuzzing::span(input.0),
        _ => {
            if let Ok(text) = std::str::from_utf8(input.0) {
                kvd::fuzzing::identity(text);
            }
        }
    }
}
