//! What a command prints.

use std::fmt;
use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use super::error::Error;
use crate::model::error_chain;

/// Where a command prints, and in which form.
pub(super) struct Output<'a> {
    pub(super) out: &'a mut dyn Write,
    pub(super) err: &'a mut dyn Write,
    pub(super) json: bool,
}

impl Output<'_> {
    /// Prints a result: as one line of JSON, or for people.
    pub(super) fn print(&mut self, result: &(impl Serialize + fmt::Display)) -> io::Result<()> {
        if self.json {
            return self.print_json(result);
        }
        writeln!(self.out, "{result}")
    }

    /// Prints a result as one line of JSON.
    pub(super) fn print_json(&mut self, result: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut *self.out, result)?;
        writeln!(self.out)
    }

    /// Says something beside the result.
    pub(super) fn warn(&mut self, message: &str) -> io::Result<()> {
        writeln!(self.err, "warning: {message}")
    }

    /// Tells why there is no result: JSON to standard output, words to standard error.
    pub(super) fn fail(&mut self, error: &Error) -> io::Result<()> {
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
