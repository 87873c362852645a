//! A cluster of production nodes under simulated clock, network and disk: one thread, one seed.
//!
//! Core, log, store, request memory and `node.rs` are the daemon's own; the client's decisions are the client's own.
//! What the daemon leaves to threads, sockets and files is played here, by [`world`], with every fault that a seed's
//! [`options`] ask for, and [`watch`] judges each step. Nobody depends on this crate.
//!
//! | module | what |
//! | --- | --- |
//! | [`options`] | what a seed stands for |
//! | [`world`] | servers, clients, faults, and the loop |
//! | [`agenda`], [`network`], [`disk`], [`server`] | what the world is made of |
//! | [`watch`] | what must hold at every moment |
//! | [`trace`], [`counts`] | what happened: as a number, as lines, as counters |
//! | [`run`] | one seed from its beginning to its verdict |
//! | [`instruments`] | marks and mutants of the production crates |
//! | [`command`] | the command line: run, replay, shrink, hunt |
//!
//! `docs/testing.md` says how to use it and how to read a failure.

pub mod agenda;
pub mod command;
pub mod counts;
pub mod disk;
pub mod instruments;
pub mod network;
pub mod options;
pub mod run;
pub mod server;
pub mod trace;
pub mod watch;
pub mod world;
