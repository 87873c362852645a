//! Simulated disk, fault proxy, histories and checkers; a dev-dependency only.
