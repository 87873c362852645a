//! The simulator's program; all of it is in the library, where tests reach it.

use std::process::ExitCode;

use clap::Parser as _;
use simulator::command::{self, Cli};

fn main() -> ExitCode {
    command::main(Cli::parse())
}
