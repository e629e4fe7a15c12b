//! `meshdog explain NAME|CONTAINER`: why this does, or does not, work.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use super::client;
use super::config_file::ConfigFile;
use super::error::Error;
use super::event_loop::block_on;
use super::output::Output;
use super::text::{line, paragraph, percent, vip};
use crate::telemetry::explain::{ContainerExplained, Explanation, ServiceExplained};
use crate::telemetry::status::EndpointStatus;

/// Tell why a name or a container does, or does not, work
#[derive(Debug, clap::Args)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// A name (orders, orders:80, orders.prod, prod/orders), a URL, an address, a container's name or id
    #[arg(value_name = "NAME|CONTAINER")]
    name: String,
}

impl ExplainArgs {
    pub(super) fn run(&self, output: &mut Output<'_>) -> Result<ExitCode, Error> {
        let socket = self.config.load()?.paths.admin_socket;
        let known = block_on(print(&socket, &self.name, output.json, output.out))?;
        Ok(if known { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Prints what the agent behind this admin socket knows of a name. False when it knows nothing.
pub(super) async fn print(admin_socket: &Path, name: &str, json: bool, out: &mut dyn Write) -> Result<bool, Error> {
    let query: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("q", name).finish();
    let body = client::get(admin_socket, &format!("/explain?{query}")).await?;
    let answer: Explanation = client::parse(admin_socket, &body)?;
    if json {
        out.write_all(&body)?;
        writeln!(out)?;
    } else {
        out.write_all(render(&answer).as_bytes())?;
    }
    Ok(answer.known())
}

/// The answer for people.
fn render(answer: &Explanation) -> String {
    let mut out = String::new();
    for (index, explained) in answer.services.iter().enumerate() {
        separate(&mut out, index);
        service(&mut out, explained);
    }
    for (index, explained) in answer.containers.iter().enumerate() {
        separate(&mut out, answer.services.len() + index);
        container(&mut out, explained);
    }
    for (index, ended) in answer.ended.iter().enumerate() {
        separate(&mut out, answer.services.len() + answer.containers.len() + index);
        paragraph(&mut out, "", &ended.what);
        if !ended.services.is_empty() {
            paragraph(&mut out, "  offered    ", &ended.services.join(", "));
        }
    }
    if !answer.known() {
        paragraph(&mut out, "", &format!("Nothing here is called {}.", answer.query));
        if !answer.nearest.is_empty() {
            paragraph(&mut out, "", &format!("There is: {}", answer.nearest.join(", ")));
        }
    }
    out
}

fn separate(out: &mut String, index: usize) {
    if index > 0 {
        out.push('\n');
    }
}

fn service(out: &mut String, explained: &ServiceExplained) {
    let service = &explained.service;
    line(out, &format!("service {}/{} ({})", service.namespace, service.name, service.protocol));
    paragraph(out, "  match      ", &explained.matched);
    let aliases: Vec<_> = service.aliases.iter().map(|alias| format!("{}:{}", alias.name, alias.port)).collect();
    paragraph(out, "  dialled as ", &aliases.join(", "));
    paragraph(out, "  VIP        ", &vip(service.vip));
    let taking = service.endpoints.iter().filter(|endpoint| endpoint.share > 0.0).count();
    let slots = match explained.slots {
        0 => "none: connections are refused".to_owned(),
        slots => format!("{slots}, filled by {taking} of {} endpoints", service.endpoints.len()),
    };
    paragraph(out, "  slots      ", &slots);
    if let Some(why) = &service.why {
        paragraph(out, "  why        ", why);
    }
    for conflict in &explained.conflicts {
        let text = format!("{} asked for {}, but {} comes before it", conflict.loser, conflict.alias, conflict.owner);
        paragraph(out, "  conflict   ", &text);
    }
    for way in &explained.out_of_reach {
        paragraph(out, "  no way     ", way);
    }
    if service.endpoints.is_empty() {
        paragraph(out, "  endpoints  ", "none: no running container offers it");
    } else {
        line(out, "  endpoints");
        endpoints(out, service.endpoints.iter().map(|endpoint| (endpoint.task.to_string(), endpoint)));
    }
}

fn container(out: &mut String, explained: &ContainerExplained) {
    let id: String = explained.id.chars().take(12).collect();
    line(out, &format!("container {} ({id})", explained.name));
    paragraph(out, "  image      ", &explained.image);
    paragraph(out, "  network    ", &explained.network);
    paragraph(out, "  dns        ", &explained.dns);
    paragraph(out, "  hosts file ", &explained.hosts_file);
    for way in &explained.out_of_reach {
        paragraph(out, "  no way     ", way);
    }
    for offer in &explained.offers {
        paragraph(out, "  offers     ", offer);
    }
    if let Some(before) = &explained.before {
        paragraph(out, "  before     ", &format!("it {before}"));
    }
    if let Some(missing) = &explained.missing {
        paragraph(out, "  no endpoint: ", missing);
    }
    for fault in &explained.faults {
        paragraph(out, "  fault      ", &format!("{}: {}", fault.label, fault.problem));
    }
    if !explained.endpoints.is_empty() {
        line(out, "  endpoints");
        endpoints(out, explained.endpoints.iter().map(|e| (e.service.clone(), &e.endpoint)));
    }
}

/// Each with its state and share, and under that why it stands so and whose it is.
fn endpoints<'a>(out: &mut String, endpoints: impl Iterator<Item = (String, &'a EndpointStatus)>) {
    for (whose, endpoint) in endpoints {
        let (address, state, share) = (endpoint.address, &endpoint.state, percent(endpoint.share));
        line(out, &format!("    {address}  {state}  {share}"));
        paragraph(out, "      ", &endpoint.reason);
        let zone = endpoint.zone.as_deref().map(|zone| format!(" in {zone}")).unwrap_or_default();
        paragraph(out, "      ", &format!("{whose} on {}{zone}", endpoint.node));
    }
}

#[cfg(test)]
mod tests;
