//! The line to the inside of a machine: scripts go in, what came of them comes out.
//!
//! A request is a line of a number and a script, an answer a line of that number, the exit status, stdout and stderr;
//! all but the numbers in base64. The other end is `tests/vm/system/usr/sbin/control`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// What came of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its exit status.
    pub status: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

/// The line.
#[derive(Debug)]
pub(super) struct Channel {
    stream: BufReader<UnixStream>,
    asked: u64,
    /// What has come of an answer so far: a deadline may pass in the middle of one.
    line: Vec<u8>,
}

impl Channel {
    /// Connects to the socket of a machine that has been switched on.
    pub(super) fn connect(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket).with_context(|| format!("connecting to {}", socket.display()))?;
        Ok(Self { stream: BufReader::new(stream), asked: 0, line: Vec::new() })
    }

    /// Has a script run, as soon as somebody listens inside, and waits for what comes of it.
    pub(super) fn ask(&mut self, script: &str, within: Duration) -> anyhow::Result<Answer> {
        self.asked += 1;
        let request = format!("{} {}\n", self.asked, BASE64_STANDARD.encode(script));
        self.stream.get_mut().write_all(request.as_bytes()).context("the machine has stopped")?;
        let deadline = Instant::now() + within;
        loop {
            let (number, answer) = parse(&self.read_line(deadline)?)?;
            // Others are answers to what was given up.
            if number == self.asked {
                return Ok(answer);
            }
        }
    }

    fn read_line(&mut self, deadline: Instant) -> anyhow::Result<String> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "no answer from inside");
            self.stream.get_ref().set_read_timeout(Some(left))?;
            match self.stream.read_until(b'\n', &mut self.line) {
                Ok(_) if self.line.ends_with(b"\n") => return Ok(String::from_utf8(std::mem::take(&mut self.line))?),
                Ok(_) => anyhow::bail!("the machine has stopped"),
                // The deadline is looked at above.
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("the machine has stopped"),
            }
        }
    }
}

fn parse(line: &str) -> anyhow::Result<(u64, Answer)> {
    let fields: Vec<&str> = line.trim_end_matches('\n').split(' ').collect();
    let [number, status, stdout, stderr] = fields[..] else { anyhow::bail!("{line:?} is no answer") };
    let text = |field| anyhow::Ok(String::from_utf8_lossy(&BASE64_STANDARD.decode(field)?).into_owned());
    Ok((number.parse()?, Answer { status: status.parse()?, stdout: text(stdout)?, stderr: text(stderr)? }))
}

#[cfg(test)]
mod tests;
