//! The daemon: a deterministic node under a thin driver.
pub mod bootstrap;
pub mod cli;
pub mod config;
pub mod dev;
pub mod disk;
pub mod event;
pub mod log;
pub mod logging;
pub mod members;
pub mod node;
pub mod pki;
pub mod state;
mod store;
mod waiting;
