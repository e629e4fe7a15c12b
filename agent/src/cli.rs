//! The command line: a file a subcommand, each with its arguments and a `run` that prints to an `Output`.
//!
//! A new subcommand is a file, a variant of `CliCommand` and an arm of [`run()`]. Exit codes: 0 well, 1 failed,
//! 2 bad usage (told by clap) or a bad configuration.

mod check;
mod client;
mod config_file;
mod doctor;
mod error;
mod event_loop;
mod explain;
mod output;
mod run;
mod status;
mod text;
mod uninstall;
mod update;
mod user_data;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::output::Output;

/// Service mesh and update gate for Bottlerocket hosts.
#[derive(Debug, Parser)]
#[command(name = "meshdog", version)]
pub struct Cli {
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    Run(run::RunArgs),
    Check(check::CheckArgs),
    Status(status::StatusArgs),
    Explain(explain::ExplainArgs),
    Doctor(doctor::DoctorArgs),
    UserData(user_data::UserDataArgs),
    Update(update::UpdateArgs),
    Uninstall(uninstall::UninstallArgs),
}

/// Runs a command to its end. `out` is for results, `err` for everything else.
pub fn run(cli: &Cli, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let mut output = Output { out, err, json: cli.json };
    let done = match &cli.command {
        CliCommand::Run(command) => command.run(),
        CliCommand::Check(command) => command.run(&mut output),
        CliCommand::Status(command) => command.run(&mut output),
        CliCommand::Explain(command) => command.run(&mut output),
        CliCommand::Doctor(command) => command.run(&mut output),
        CliCommand::UserData(command) => command.run(&mut output),
        CliCommand::Update(command) => command.run(&mut output),
        CliCommand::Uninstall(command) => command.run(&mut output),
    };
    let flushed = done.and_then(|code| Ok(output.out.flush().map(|()| code)?));
    flushed.unwrap_or_else(|error| {
        // Nothing is left to tell a failure of this to.
        let _ = output.fail(&error);
        error.code()
    })
}

#[cfg(test)]
mod tests;
