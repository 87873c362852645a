//! The program that libFuzzer drives. It hosts every target, because linking one instrumented program is slow enough;
//! the variable `KV_FUZZ` names the one that a run is about. `common/fuzz/run` builds and starts it.
#![no_main]

use std::sync::OnceLock;

use fuzz::{TARGETS, Target};

fn chosen() -> &'static Target {
    static CHOSEN: OnceLock<&Target> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let name = std::env::var("KV_FUZZ").unwrap_or_default();
        let named = TARGETS.iter().find(|target| target.name == name);
        named.unwrap_or_else(|| panic!("KV_FUZZ names no target: {name:?}"))
    })
}

libfuzzer_sys::fuzz_target!(init: chosen(), |bytes: &[u8]| (chosen().run)(bytes));
