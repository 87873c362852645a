//! Breaks things on purpose: a simulated disk and real clusters of real processes. A dev-dependency only; it knows
//! nothing of what it breaks beyond its surface.

pub mod cluster;
pub mod counters;
pub mod disk;
pub mod history;
pub mod linearizability;
pub mod mutant;
pub mod programs;
pub mod proxy;
pub mod replay;
pub mod rng;
