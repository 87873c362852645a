//! A request to the pages of metrics. The reader is private to `kvd`, which shows it to the fuzzed build only.

pub(crate) fn run(bytes: &[u8]) {
    kvd::fuzzing::http(bytes);
}
