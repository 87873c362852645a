//! The JSON Schemas of all documents the tools print, as files beside this one: they are read by people as well.
//!
//! They say what is promised: within a version fields are only added, so none of them forbids what it does not name. A
//! test validates what the tools really print, and there allows nothing that is not named.

/// Name and text of each, in alphabetical order.
pub const SCHEMAS: &[(&str, &str)] = &[
    ("bench", include_str!("schema/bench.json")),
    ("check", include_str!("schema/check.json")),
    ("compact_log", include_str!("schema/compact_log.json")),
    ("count", include_str!("schema/count.json")),
    ("del", include_str!("schema/del.json")),
    ("end", include_str!("schema/end.json")),
    ("entry", include_str!("schema/entry.json")),
    ("error", include_str!("schema/error.json")),
    ("exists", include_str!("schema/exists.json")),
    ("explain", include_str!("schema/explain.json")),
    ("export", include_str!("schema/export.json")),
    ("get", include_str!("schema/get.json")),
    ("history", include_str!("schema/history.json")),
    ("incr", include_str!("schema/incr.json")),
    ("import", include_str!("schema/import.json")),
    ("leader", include_str!("schema/leader.json")),
    ("man", include_str!("schema/man.json")),
    ("past", include_str!("schema/past.json")),
    ("ping", include_str!("schema/ping.json")),
    ("range", include_str!("schema/range.json")),
    ("retention", include_str!("schema/retention.json")),
    ("retention_set", include_str!("schema/retention_set.json")),
    ("revert", include_str!("schema/revert.json")),
    ("row", include_str!("schema/row.json")),
    ("schemas", include_str!("schema/schemas.json")),
    ("set", include_str!("schema/set.json")),
    ("status", include_str!("schema/status.json")),
    ("txn", include_str!("schema/txn.json")),
    ("tree", include_str!("schema/tree.json")),
    ("version", include_str!("schema/version.json")),
    ("wait", include_str!("schema/wait.json")),
];
