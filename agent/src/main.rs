//! The `meshdog` program.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use meshdog::cli::{self, Cli};

fn main() -> ExitCode {
    // Not locked for good: a command that runs long shares both with the log.
    cli::run(&Cli::parse(), &mut io::stdout(), &mut io::stderr())
}
