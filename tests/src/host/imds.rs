//! The instance metadata service, version 2: nothing is said without a token.
//!
//! Format: "Use the Instance Metadata Service to access instance metadata", Amazon EC2 User Guide.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use uuid::Uuid;

use super::serve::respond;
use super::state::Shared;

/// What the service says.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Instance {
    /// `instance-id`
    pub id: String,
    /// `local-ipv4`
    pub address: Ipv4Addr,
    /// `hostname`, which is also the host's own.
    pub hostname: String,
    /// `placement/region`
    pub region: String,
    /// `placement/availability-zone`
    pub zone: String,
}

impl Default for Instance {
    /// An instance at the address that this machine's own default route leaves with, else at loopback.
    fn default() -> Self {
        Self {
            id: "i-0123456789abcdef0".to_owned(),
            address: default_source().unwrap_or(Ipv4Addr::LOCALHOST),
            hostname: "simhost".to_owned(),
            region: "us-west-2".to_owned(),
            zone: "us-west-2a".to_owned(),
        }
    }
}

/// Connecting a datagram socket sends nothing; it asks the routing table.
fn default_source() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// Answers one request.
pub(super) fn answer(request: &Request<Bytes>, state: &Shared) -> Response<Body> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let path = request.uri().path().trim_end_matches('/');
    let mut state = state.lock();
    match (request.method().as_str(), path) {
        ("PUT", "/latest/api/token") => {
            let ttl: Option<u32> =
                header("x-aws-ec2-metadata-token-ttl-seconds").and_then(|seconds| seconds.parse().ok());
            if !ttl.is_some_and(|seconds| (1..=21_600).contains(&seconds)) {
                return respond(400, None, Body::empty());
            }
            let token = Uuid::new_v4().simple().to_string();
            state.tokens.insert(token.clone());
            respond(200, Some("text/plain"), token)
        }
        ("GET", path) => {
            if !header("x-aws-ec2-metadata-token").is_some_and(|token| state.tokens.contains(token)) {
                return respond(401, None, Body::empty());
            }
            let instance = &state.instance;
            let said = match path {
                "/latest/meta-data/instance-id" => instance.id.clone(),
                "/latest/meta-data/local-ipv4" => instance.address.to_string(),
                "/latest/meta-data/hostname" | "/latest/meta-data/local-hostname" => instance.hostname.clone(),
                "/latest/meta-data/placement/region" => instance.region.clone(),
                "/latest/meta-data/placement/availability-zone" => instance.zone.clone(),
                _ => return respond(404, None, Body::empty()),
            };
            respond(200, Some("text/plain"), said)
        }
        _ => respond(405, None, Body::empty()),
    }
}
