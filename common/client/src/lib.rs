//! Finds the leader and retries within a deadline, exactly once.
