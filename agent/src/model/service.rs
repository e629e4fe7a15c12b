//! What a service speaks, how much of it one endpoint takes, and how its health is asked.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Longest HTTP path or gRPC service name of a health check, in bytes.
pub const MAX_CHECK_TARGET: usize = 255;

/// Why a protocol, weight or health check cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// Not one of the application protocols.
    #[error("protocol {0:?} is unknown; use tcp, udp, http, http2 or grpc")]
    Protocol(String),
    /// Not a weight.
    #[error("weight {0:?} is out of range; write a number from 1 to 100")]
    Weight(String),
    /// Not a health check.
    #[error("health check {0:?} is unknown; use none, tcp, http:/path, grpc or grpc:service")]
    HealthCheck(String),
    /// A health check's path or service name holds control characters, blanks, or too much.
    #[error("health check target {0:?} is not usable; write at most 255 visible ASCII characters")]
    CheckTarget(String),
}

/// The transport that the kernel balances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum L4 {
    /// Connections.
    Tcp,
    /// Flows of datagrams.
    Udp,
}

impl L4 {
    /// The protocol number of the IP header (IANA).
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// The transport with this protocol number, if it is one that meshdog balances.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Tcp, Self::Udp].into_iter().find(|l4| l4.number() == number)
    }
}

impl fmt::Display for L4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// What an endpoint speaks; Service Connect's `appProtocol`, and `udp`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AppProtocol {
    /// Anything over TCP.
    #[default]
    Tcp,
    /// Anything over UDP.
    Udp,
    /// HTTP/1.
    Http,
    /// HTTP/2.
    Http2,
    /// gRPC.
    Grpc,
}

impl AppProtocol {
    const NAMES: [(Self, &'static str); 5] =
        [(Self::Tcp, "tcp"), (Self::Udp, "udp"), (Self::Http, "http"), (Self::Http2, "http2"), (Self::Grpc, "grpc")];

    /// The transport that carries it.
    #[must_use]
    pub fn l4(self) -> L4 {
        if self == Self::Udp { L4::Udp } else { L4::Tcp }
    }
}

impl FromStr for AppProtocol {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        let known = Self::NAMES.into_iter().find(|(_, name)| *name == text);
        known.map(|(protocol, _)| protocol).ok_or_else(|| ServiceError::Protocol(text.to_owned()))
    }
}

impl fmt::Display for AppProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Self::NAMES.into_iter().find(|(protocol, _)| protocol == self);
        f.write_str(known.map_or("tcp", |(_, name)| name))
    }
}

impl Serialize for AppProtocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An endpoint's part of its service's connections, relative to the others': 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Weight(u8);

impl Weight {
    /// The weight as a number.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(1)
    }
}

impl FromStr for Weight {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        match text.parse() {
            Ok(weight @ 1..=100) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(Self(weight)),
            _ => Err(ServiceError::Weight(text.to_owned())),
        }
    }
}

/// How an endpoint's health is asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HealthCheck {
    /// Not at all: healthy as soon as it runs.
    None,
    /// A TCP connection is accepted.
    Tcp,
    /// GET of this path answers 200 to 399.
    Http(Arc<str>),
    /// `grpc.health.v1.Health/Check` of this service (empty: the whole server) answers SERVING.
    Grpc(Arc<str>),
}

impl FromStr for HealthCheck {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        let target = |target: &str| {
            let visible = target.len() <= MAX_CHECK_TARGET && target.bytes().all(|b| b.is_ascii_graphic());
            if visible { Ok(Arc::from(target)) } else { Err(ServiceError::CheckTarget(target.to_owned())) }
        };
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            None if text == "tcp" => Ok(Self::Tcp),
            None if text == "grpc" => Ok(Self::Grpc("".into())),
            Some(("grpc", service)) if !service.is_empty() => target(service).map(Self::Grpc),
            Some(("http", path)) if path.starts_with('/') => target(path).map(Self::Http),
            _ => Err(ServiceError::HealthCheck(text.to_owned())),
        }
    }
}

impl fmt::Display for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Tcp => f.write_str("tcp"),
            Self::Http(path) => write!(f, "http:{path}"),
            Self::Grpc(service) if service.is_empty() => f.write_str("grpc"),
            Self::Grpc(service) => write!(f, "grpc:{service}"),
        }
    }
}

#[cfg(test)]
mod tests;
