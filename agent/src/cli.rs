//! The command line: a file a subcommand, each with its arguments and a `run` that prints to an `Output`.
//!
//! A new subcommand is a file, a variant of `Command` and an arm of [`run()`]. Exit codes: 0 well, 1 failed,
//! 2 bad usage (told by clap) or a bad configuration.

mod check;
mod client;
mod doctor;
mod explain;
mod run;
mod status;
mod text;
mod uninstall;
mod update;
mod user_data;

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use crate::model::error_chain;
use crate::{app, config};

/// Where a host container finds its user data (Bottlerocket, `host-ctr`: the persistent directory of the container).
const DEFAULT_CONFIG: &str = "/.bottlerocket/host-containers/current/user-data";

/// Service mesh and update gate for Bottlerocket hosts.
#[derive(Debug, Parser)]
#[command(name = "meshdog", version)]
pub struct Cli {
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Check(check::CheckArgs),
    Status(status::StatusArgs),
    Explain(explain::ExplainArgs),
    Doctor(doctor::DoctorArgs),
    UserData(user_data::UserDataArgs),
    Update(update::UpdateArgs),
    Uninstall(uninstall::UninstallArgs),
}

/// The configuration that a command reads.
#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(long = "config", value_name = "PATH", default_value = DEFAULT_CONFIG)]
    path: PathBuf,
}

impl ConfigFile {
    fn load(&self) -> Result<config::Settings, config::Errors> {
        config::load(&self.path)
    }
}

/// Runs a command that waits for something to its end, on this thread.
fn block_on<T, E>(command: impl Future<Output = Result<T, E>>) -> Result<T, Error>
where
    Error: From<E>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(Error::Runtime)?.block_on(command)?)
}

/// Runs the agent to its end, on two threads: one is free while the other handles a large change.
fn block_on_threads<T, E>(agent: impl Future<Output = Result<T, E>>) -> Result<T, Error>
where
    Error: From<E>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    Ok(runtime.map_err(Error::Runtime)?.block_on(agent)?)
}

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The configuration is not one.
    #[error(transparent)]
    Config(#[from] config::Errors),
    /// Standard output is gone or full.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    /// The Bottlerocket settings are larger than EC2 takes.
    #[error(transparent)]
    TooLarge(#[from] user_data::TooLarge),
    /// The running agent does not answer, or not so.
    #[error(transparent)]
    Agent(#[from] client::Error),
    /// The host takes too long to look for updates.
    #[error(transparent)]
    Slow(#[from] update::Slow),
    /// The agent cannot run.
    #[error(transparent)]
    Run(#[from] app::Error),
    /// The table cannot be removed.
    #[error(transparent)]
    Uninstall(#[from] uninstall::Refused),
    /// No event loop.
    #[error("cannot start the event loop")]
    Runtime(#[source] io::Error),
}

impl Error {
    fn code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::from(2),
            // Who reads no further has seen enough.
            Self::Output(problem) if problem.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
}

/// Where a command prints, and in which form.
struct Output<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    json: bool,
}

impl Output<'_> {
    /// Prints a result: as one line of JSON, or for people.
    fn print(&mut self, result: &(impl Serialize + fmt::Display)) -> io::Result<()> {
        if self.json {
            return self.print_json(result);
        }
        writeln!(self.out, "{result}")
    }

    /// Prints a result as one line of JSON.
    fn print_json(&mut self, result: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut *self.out, result)?;
        writeln!(self.out)
    }

    /// Says something beside the result.
    fn warn(&mut self, message: &str) -> io::Result<()> {
        writeln!(self.err, "warning: {message}")
    }

    /// Tells why there is no result: JSON to standard output, words to standard error.
    fn fail(&mut self, error: &Error) -> io::Result<()> {
        match error {
            Error::Output(problem) if problem.kind() == ErrorKind::BrokenPipe => Ok(()),
            Error::Output(_) => writeln!(self.err, "meshdog: {}", error_chain(error)),
            Error::Config(errors) if self.json => {
                writeln!(self.out, "{}", serde_json::json!({ "ok": false, "errors": errors.list() }))
            }
            Error::Config(errors) => writeln!(self.err, "{errors}"),
            _ if self.json => {
                let failure = serde_json::json!({ "ok": false, "error": error_chain(error) });
                writeln!(self.out, "{failure}")
            }
            _ => writeln!(self.err, "meshdog: {}", error_chain(error)),
        }
    }
}

/// Runs a command to its end. `out` is for results, `err` for everything else.
pub fn run(cli: &Cli, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let mut output = Output { out, err, json: cli.json };
    let done = match &cli.command {
        Command::Run(command) => command.run(),
        Command::Check(command) => command.run(&mut output),
        Command::Status(command) => command.run(&mut output),
        Command::Explain(command) => command.run(&mut output),
        Command::Doctor(command) => command.run(&mut output),
        Command::UserData(command) => command.run(&mut output),
        Command::Update(command) => command.run(&mut output),
        Command::Uninstall(command) => command.run(&mut output),
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
