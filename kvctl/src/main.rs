//! The `kvctl` program.
fn main() {}
