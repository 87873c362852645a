//! The daemon: a deterministic node under a thin driver.
pub mod bootstrap;
pub mod cli;
mod clients;
pub mod config;
pub mod dev;
mod directory;
pub mod disk;
mod driver;
pub mod event;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod instruments;
mod journal;
mod links;
pub mod log;
pub mod log_thread;
pub mod logging;
pub mod members;
mod metrics;
pub mod node;
pub mod opening;
pub mod pages;
mod peers;
pub mod pki;
pub mod restore;
pub mod run;
mod saves;
mod scans;
pub mod server;
pub mod snapshot;
mod socket;
pub mod state;
mod store;
mod streaming;
mod waiting;
mod watches;
