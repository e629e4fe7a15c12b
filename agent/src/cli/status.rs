//! `meshdog status`: the node at a glance.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use tokio::signal;
use tokio::time::{MissedTickBehavior, interval};

use super::client;
use super::config_file::ConfigFile;
use super::error::Error;
use super::event_loop::block_on;
use super::output::Output;
use super::text::{age, line, paragraph, percent, table, vip};
use crate::model::error_chain;
use crate::telemetry::status::Status;

/// Between two refreshes of `--watch`.
const REFRESH: Duration = Duration::from_secs(1);
/// To the upper left corner; the rest of a line; the rest of the screen (ECMA-48 CUP, EL, ED).
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// Show the node, its sources, and every service with its endpoints
#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// Refresh every second until interrupted, through restarts of the agent
    #[arg(long, conflicts_with = "json")]
    watch: bool,
}

impl StatusArgs {
    pub(super) fn run(&self, output: &mut Output<'_>) -> Result<ExitCode, Error> {
        let socket = self.config.load()?.paths.admin_socket;
        if self.watch {
            block_on(watch(&socket, output.out))?;
        } else {
            block_on(print(&socket, output.json, output.out))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints the status of the agent behind this admin socket.
pub(super) async fn print(admin_socket: &Path, json: bool, out: &mut dyn Write) -> Result<(), Error> {
    let body = client::get(admin_socket, "/status").await?;
    if json {
        out.write_all(&body)?;
        writeln!(out)?;
    } else {
        out.write_all(render(&client::parse(admin_socket, &body)?, Timestamp::now()).as_bytes())?;
    }
    Ok(())
}

async fn watch(admin_socket: &Path, out: &mut dyn Write) -> Result<(), Error> {
    let mut ticks = interval(REFRESH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let interrupted = signal::ctrl_c();
    tokio::pin!(interrupted);
    let mut last: Option<(Status, Timestamp)> = None;
    loop {
        let shown = tokio::select! {
            _ = &mut interrupted => return Ok(()),
            shown = async {
                ticks.tick().await;
                frame(admin_socket, &mut last).await
            } => shown,
        };
        // Over the old picture rather than after clearing it, which would flicker.
        let picture = shown.replace('\n', &format!("{CLEAR_LINE}\n"));
        write!(out, "{HOME}{picture}{CLEAR_BELOW}")?;
        out.flush()?;
    }
}

/// One picture: the status, or the last one known under a line that says that the agent is gone.
async fn frame(admin_socket: &Path, last: &mut Option<(Status, Timestamp)>) -> String {
    let now = Timestamp::now();
    let answer = match client::get(admin_socket, "/status").await {
        Ok(body) => client::parse(admin_socket, &body),
        Err(error) => Err(error),
    };
    match answer {
        Ok(status) => {
            let picture = render(&status, now);
            *last = Some((status, now));
            picture
        }
        Err(error) => {
            let mut out = String::new();
            paragraph(&mut out, "", &error_chain(&error));
            if let Some((status, seen)) = last {
                line(&mut out, &format!("What it said {} ago:", age(*seen, now)));
                out.push('\n');
                out += &render(status, *seen);
            }
            out
        }
    }
}

/// The status for people, lines of at most a hundred columns.
fn render(status: &Status, now: Timestamp) -> String {
    let mut out = String::new();
    let node = &status.node;
    let name = node.name.as_deref().unwrap_or("a node not known yet");
    let address = node.address.map(|address| format!(" {address}")).unwrap_or_default();
    let zone = node.zone.as_deref().map(|zone| format!(" in {zone}")).unwrap_or_default();
    let ready = if status.ready { "ready" } else { "not ready" };
    line(&mut out, &format!("meshdog {} on {name}{address}{zone}: {ready}", node.version));
    if !status.waiting_for.is_empty() {
        paragraph(&mut out, "waiting    ", &status.waiting_for.join(", "));
    }

    let sources = status.sources.named().map(|(name, source)| {
        let why = source.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        format!("{name} {} {}{why}", source.state, age(source.since, now))
    });
    paragraph(&mut out, "sources    ", &sources.join(", "));
    let dataplane = &status.dataplane;
    let sync = if dataplane.in_sync { "in sync" } else { "not in sync" };
    let (backend, namespaces) = (&dataplane.backend, dataplane.namespaces);
    let (took, repairs) = (dataplane.last_apply_ms, dataplane.repairs);
    let part = format!("{backend}, {sync}, namespaces {namespaces}, last apply {took:.1} ms, repairs {repairs}");
    paragraph(&mut out, "dataplane  ", &part);
    for road in &dataplane.closed_roads {
        let text =
            format!("from {} to {}: services refuse at once, for connections are {}", road.from, road.to, road.why);
        paragraph(&mut out, "no way     ", &text);
    }
    let names = &status.names;
    let why = names.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    let servers: Vec<_> = names.servers.iter().map(ToString::to_string).collect();
    let of = if servers.is_empty() { String::new() } else { format!(", for queries to {}", servers.join(", ")) };
    let part = format!("hosts files {}, dns {}{why}{of}", names.hosts_files, names.dns);
    paragraph(&mut out, "names      ", &part);
    let update = &status.update;
    let running = update.running.as_deref().map(|version| format!("running {version}, ")).unwrap_or_default();
    let until = update.until.map(|until| format!(" until {until:.0}")).unwrap_or_default();
    paragraph(&mut out, "update     ", &format!("{running}{}{until}: {}", update.phase, update.why));
    for conflict in &status.conflicts {
        let text = format!("{} asked for {}, which {} has", conflict.loser, conflict.alias, conflict.owner);
        paragraph(&mut out, "conflict   ", &text);
    }
    services(&mut out, status);
    out
}

fn services(out: &mut String, status: &Status) {
    if status.services.is_empty() {
        out.push('\n');
        line(out, "no services");
    }
    for service in &status.services {
        out.push('\n');
        let aliases: Vec<_> = service.aliases.iter().map(|alias| format!("{}:{}", alias.name, alias.port)).collect();
        let (namespace, name, protocol) = (&service.namespace, &service.name, &service.protocol);
        line(out, &format!("{namespace}/{name}  {protocol}  {}  {}", vip(service.vip), aliases.join(" ")));
        if let Some(why) = &service.why {
            paragraph(out, "  ! ", why);
        }
        let rows: Vec<_> = service
            .endpoints
            .iter()
            .map(|endpoint| {
                let share = format!("{:>5}", percent(endpoint.share));
                [endpoint.address.to_string(), endpoint.state.to_string(), share, endpoint.reason.to_string()]
            })
            .collect();
        table(out, 2, &rows);
    }
}

#[cfg(test)]
mod tests;
