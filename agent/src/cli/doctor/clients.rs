//! What the running agent found on the ways that containers' queries and connections take.

use super::check::DoctorCheck;
use crate::config::Settings;
use crate::model::{MAX_CAPTURED, RESOLVER_PORT};
use crate::telemetry::status::Status;

/// Nothing where no agent runs.
pub(super) fn look(settings: &Settings, running: Option<&Result<Status, String>>) -> Vec<DoctorCheck> {
    let Some(Ok(status)) = running else { return Vec::new() };
    let (resolver, last) = (settings.mesh.vip_ranges.v4().resolver(), RESOLVER_PORT + 2 * MAX_CAPTURED - 1);
    let accept = format!(
        "accept in the host's firewall what containers send to {resolver}, ports {RESOLVER_PORT} to {last}, by UDP and \
         TCP: iptables -I INPUT -d {resolver} -p udp --dport {RESOLVER_PORT}:{last} -j ACCEPT, and with tcp; until then \
         hosts files alone tell containers mesh names"
    );
    let open = "put clients and servers on one network, or accept in the chain DOCKER-USER what goes from one bridge to \
                the other; until then services there refuse at once";
    let check = |name, found: Result<String, (String, String)>, advice: &str| {
        let why = found.as_ref().err().map(|(_, why)| format!("{why}; {advice}")).unwrap_or_default();
        DoctorCheck::new(name, found.map_err(|(what, _)| what), &why).wanted()
    };
    vec![check("containers' DNS", dns(status), &accept), check("networks", networks(status), open)]
}

/// Whether containers' queries come to the agent; else what is the case, and what is in the way.
pub(super) fn dns(status: &Status) -> Result<String, (String, String)> {
    let names = &status.names;
    match &names.why {
        Some(why) => Err((names.dns.to_string(), why.to_string())),
        None => Ok(names.dns.to_string()),
    }
}

/// Whether containers can connect to each other; else the same.
pub(super) fn networks(status: &Status) -> Result<String, (String, String)> {
    let closed = status.dataplane.closed_roads.iter();
    let closed: Vec<String> = closed.map(|road| format!("from {} to {}: {}", road.from, road.to, road.why)).collect();
    match closed.len() {
        0 => Ok("every network's containers reach every other's".to_owned()),
        ways => Err((format!("{ways} of the ways between them are closed"), closed.join("; "))),
    }
}
