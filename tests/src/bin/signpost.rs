//! `signpost COMMAND`: the host's program, on a disk of the tests. See `meshdog_tests::disk`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use meshdog_tests::disk::running::Running;
use meshdog_tests::disk::signpost::{Command, USAGE, run};

fn main() -> ExitCode {
    match signpost() {
        Ok(text) => end(ExitCode::SUCCESS, &mut io::stdout(), &text),
        Err(text) => end(ExitCode::FAILURE, &mut io::stderr(), &text),
    }
}

/// What it prints on its standard output, or else on its standard error.
fn signpost() -> Result<String, String> {
    let mut arguments = std::env::args_os();
    let program = arguments.next().map(PathBuf::from).unwrap_or_default();
    let command = arguments.next().and_then(|word| Command::named(word.to_str()?)).ok_or(USAGE)?;
    let command_line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let running = Running::find(&program, &command_line).map_err(|error| format!("signpost: {error}\n"))?;
    run(command, &running).map_err(|failure| format!("{failure}\n"))
}

fn end(code: ExitCode, to: &mut impl Write, text: &str) -> ExitCode {
    match to.write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}
