//! The `kvshell` program.
fn main() {}
