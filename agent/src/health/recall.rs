//! What a new start of the agent knows of this node's endpoints: the file that remembers how they stood. Pure.
//!
//! Lines of JSON: a version, an endpoint or a container each, at the end the checksum of all before. Whatever is amiss
//! with it, nothing of it counts, and probes decide as on the first day.

use std::collections::HashMap;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::life::DockerLife;
use super::stops::Begun;
use crate::model::address::SocketAddrs;
use crate::model::{
    ContainerId, DualStack, Endpoint, EndpointAddresses, EndpointId, EndpointState, Endpoints, LocalNetwork, ServiceId,
};

/// The file in the state directory.
pub(super) const FILE: &str = "health.state";
/// A larger file is not ours.
pub(super) const MAX_BYTES: u64 = 32 << 20;
/// The most endpoints and containers that are remembered.
const MAX_LINES: usize = 65_536;
/// Of the format; a file of another one is not read.
const VERSION: u32 = 1;

/// Why a file says nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecallError {
    #[error("it is cut short, or was changed")]
    Checksum,
    #[error("it is of another version of meshdog")]
    Version,
    #[error("it has too many lines")]
    TooLong,
    #[error("line {0} cannot be read")]
    Line(usize, #[source] serde_json::Error),
    #[error("line {0} holds no endpoint that could be")]
    Endpoint(usize),
}

/// How endpoints and containers stood, by container.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Recalled {
    /// Healthy and unhealthy ones.
    pub(super) endpoints: HashMap<ContainerId, Vec<Endpoint>>,
    /// What Docker's health checks said.
    pub(super) docker: HashMap<ContainerId, DockerLife>,
    /// Stops that had begun.
    pub(super) stops: HashMap<ContainerId, Begun>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Version(u32),
    Endpoint(Box<EndpointLine>),
    Docker { id: ContainerId, said: DockerLife },
    Stop { id: ContainerId, begun: Begun },
    Crc32(u32),
}

#[derive(Debug, Serialize, Deserialize)]
struct EndpointLine {
    namespace: String,
    name: String,
    container: ContainerId,
    started_ms: u64,
    healthy: bool,
    /// Whether it is in the host's network.
    host: bool,
    local: AddressLine,
    published: Option<AddressLine>,
    protocol: String,
    aliases: Vec<String>,
    weight: String,
    node: String,
    zone: Option<String>,
    task: String,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct AddressLine {
    ip: DualStack,
    port: std::num::NonZeroU16,
}

impl From<SocketAddrs> for AddressLine {
    fn from(SocketAddrs { ip, port }: SocketAddrs) -> Self {
        Self { ip, port }
    }
}

impl From<AddressLine> for SocketAddrs {
    fn from(AddressLine { ip, port }: AddressLine) -> Self {
        Self { ip, port }
    }
}

/// Whether an endpoint is remembered, and then whether as a healthy one. One that drains and still answers is: that its
/// container stops is remembered of the container.
fn stands(endpoint: &Endpoint) -> Option<bool> {
    match endpoint.state {
        EndpointState::Healthy => Some(true),
        EndpointState::Unhealthy => Some(false),
        EndpointState::Draining if endpoint.last_resort => Some(true),
        EndpointState::Draining | EndpointState::Starting | EndpointState::Ejected => None,
    }
}

/// Writes down how endpoints and containers stand.
pub(super) fn write(
    out: &mut dyn Write,
    endpoints: &Endpoints,
    docker: &HashMap<ContainerId, DockerLife>,
    stops: &HashMap<ContainerId, Begun>,
) -> io::Result<()> {
    let mut crc = crc32fast::Hasher::new();
    let mut buffer = Vec::new();
    let mut line = |line: &Line, crc: &mut crc32fast::Hasher| {
        buffer.clear();
        serde_json::to_writer(&mut buffer, line)?;
        buffer.push(b'\n');
        crc.update(&buffer);
        out.write_all(&buffer)
    };
    line(&Line::Version(VERSION), &mut crc)?;
    for endpoint in endpoints.values().filter_map(|endpoint| EndpointLine::new(endpoint)).take(MAX_LINES) {
        line(&Line::Endpoint(Box::new(endpoint)), &mut crc)?;
    }
    for (id, said) in docker.iter().take(MAX_LINES) {
        line(&Line::Docker { id: id.clone(), said: *said }, &mut crc)?;
    }
    for (id, begun) in stops.iter().take(MAX_LINES) {
        line(&Line::Stop { id: id.clone(), begun: *begun }, &mut crc)?;
    }
    let sum = crc.clone().finalize();
    line(&Line::Crc32(sum), &mut crc)
}

/// Reads what [`write`] wrote.
pub(super) fn read(bytes: &[u8]) -> Result<Recalled, RecallError> {
    let whole = bytes.strip_suffix(b"\n").ok_or(RecallError::Checksum)?;
    let end = whole.iter().rposition(|byte| *byte == b'\n').ok_or(RecallError::Checksum)? + 1;
    let sum = match serde_json::from_slice(whole.get(end..).unwrap_or_default()) {
        Ok(Line::Crc32(sum)) => sum,
        _ => return Err(RecallError::Checksum),
    };
    let body = whole.get(..end).unwrap_or_default();
    if crc32fast::hash(body) != sum {
        return Err(RecallError::Checksum);
    }
    let mut recalled = Recalled::default();
    let lines = body.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    for (at, line) in lines {
        if at > 3 * MAX_LINES {
            return Err(RecallError::TooLong);
        }
        match serde_json::from_slice(line) {
            Ok(Line::Version(VERSION)) if at == 0 => {}
            _ if at == 0 => return Err(RecallError::Version),
            Ok(Line::Endpoint(line)) => {
                let endpoint = line.endpoint().ok_or(RecallError::Endpoint(at + 1))?;
                recalled.endpoints.entry(endpoint.container.clone()).or_default().push(endpoint);
            }
            Ok(Line::Docker { id, said }) => drop(recalled.docker.insert(id, said)),
            Ok(Line::Stop { id, begun }) => drop(recalled.stops.insert(id, begun)),
            Ok(Line::Version(_) | Line::Crc32(_)) => return Err(RecallError::Version),
            Err(error) => return Err(RecallError::Line(at + 1, error)),
        }
    }
    Ok(recalled)
}

impl EndpointLine {
    fn new(endpoint: &Endpoint) -> Option<Self> {
        let healthy = stands(endpoint)?;
        let EndpointAddresses::Own { network, local, published } = endpoint.addresses else { return None };
        Some(Self {
            namespace: endpoint.service.namespace.to_string(),
            name: endpoint.service.name.to_string(),
            container: endpoint.container.clone(),
            started_ms: endpoint.started_ms,
            healthy,
            host: network == LocalNetwork::Host,
            local: local.into(),
            published: published.map(Into::into),
            protocol: endpoint.protocol.to_string(),
            aliases: endpoint.aliases.iter().map(ToString::to_string).collect(),
            weight: endpoint.weight.get().to_string(),
            node: endpoint.node.to_string(),
            zone: endpoint.zone.as_deref().map(Into::into),
            task: endpoint.task.to_string(),
        })
    }

    fn endpoint(self) -> Option<Endpoint> {
        let protocol: crate::model::AppProtocol = self.protocol.parse().ok()?;
        let aliases = self.aliases.iter().map(|alias| alias.parse().ok()).collect::<Option<Vec<_>>>()?;
        Some(Endpoint {
            service: ServiceId { namespace: self.namespace.parse().ok()?, name: self.name.parse().ok()? },
            id: EndpointId::new(&self.container, self.local.port, protocol.l4()),
            addresses: EndpointAddresses::Own {
                network: if self.host { LocalNetwork::Host } else { LocalNetwork::Bridge },
                local: self.local.into(),
                published: self.published.map(Into::into),
            },
            protocol,
            aliases: Some(aliases).filter(|aliases| !aliases.is_empty())?.into(),
            weight: self.weight.parse().ok()?,
            node: self.node.into(),
            zone: self.zone.map(Into::into),
            task: self.task.into(),
            container: self.container,
            started_ms: self.started_ms,
            state: if self.healthy { EndpointState::Healthy } else { EndpointState::Unhealthy },
            last_resort: false,
            reason: if self.healthy { WAS_HEALTHY.into() } else { WAS_UNHEALTHY.into() },
        })
    }
}

/// Reasons of endpoints that nobody has asked yet.
const WAS_HEALTHY: &str = "was healthy before the agent restarted; not asked yet";
const WAS_UNHEALTHY: &str = "was unhealthy before the agent restarted; not asked yet";

#[cfg(test)]
mod tests;
