//! The daemon: a deterministic node under a thin driver.
pub mod cli;
pub mod config;
pub mod disk;
pub mod event;
pub mod log;
pub mod logging;
pub mod members;
pub mod node;
pub mod state;
mod store;
mod waiting;
