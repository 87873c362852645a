//! The command language and the reports that kvctl and kvshell share.
//!
//! ```text
//! argv or a line ──► command ──► connect ──► client ──► report ──► render ──► stdout, stderr, exit code
//!                                context                   error ──┘
//! ```
//!
//! | module | what it knows |
//! | --- | --- |
//! | `command` | every command: arguments, call, report |
//! | `codes` | every code of a failure, explained |
//! | `connect` | from flags to a client |
//! | `context` | which cluster is meant, and with which certificates |
//! | `error` | what went wrong, why, what next |
//! | `files` | files that are whole or not there |
//! | `glob` | patterns of keys |
//! | `exit` | with what a program ends |
//! | `keys` | single keys of a terminal |
//! | `listing` | rows that are shown as they come |
//! | `offer` | what TAB offers: keys, nodes, contexts |
//! | `protect` | changes to protected clusters want a name |
//! | `progress` | how far a long command has come |
//! | `report` | what a command learned: one type |
//! | `render` | how that looks: table, plain, JSON |
//! | `schema` | the JSON Schema of every document |
//! | `script` | a line cut into commands and pipes |
//! | `usage` | what is said of a line that does not parse |
//! | `text` | durations, sizes, bytes for people |
// What people type and what servers answer is refused, never panicked on.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

pub mod codes;
pub mod command;
pub mod connect;
pub mod context;
pub mod error;
pub mod exit;
pub mod files;
pub mod glob;
mod keys;
pub mod listing;
pub mod offer;
mod progress;
pub mod protect;
pub mod render;
pub mod report;
pub mod schema;
pub mod script;
pub mod text;
pub mod usage;

pub use command::{Command, Line};
pub use connect::Session;
pub use error::Failure;
pub use exit::Exit;
pub use listing::Out;
pub use report::Report;
