//! The daemon: a deterministic node under a thin driver.
pub mod disk;
pub mod state;
mod store;
