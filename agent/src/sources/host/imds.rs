//! The instance metadata service (IMDSv2): this instance's address and zone.
//!
//! Owns what has been learnt, which never changes while the instance runs, so that each is asked for until it is known
//! and never again. Only asked on AWS hosts; elsewhere its link-local address may belong to anybody.
//!
//! Format: "Use the Instance Metadata Service to access instance metadata", Amazon EC2 User Guide.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;
use url::Url;

use super::node::InstanceFacts;
use crate::clients::backoff::{Backoff, Delays};
use crate::clients::http::{self, Answer, Client, Limits, StatusCode};
use crate::model::untrusted;

/// For each request: the service answers from the host itself, within a millisecond or two; tokens have 56 bytes.
const LIMITS: Limits = Limits::new(Duration::from_secs(1), 1024);

/// Between two attempts.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));

/// How long a token is good for, in seconds: just for the questions at hand.
const TOKEN_TTL: &str = "60";

/// What to ask for.
#[derive(Debug, Clone, Copy)]
pub(super) struct WantedFacts {
    pub(super) address: bool,
    pub(super) zone: bool,
}

#[derive(Debug)]
pub(super) struct Imds {
    http: Client,
    base: Url,
    facts: InstanceFacts,
    /// When it may be asked again after a failure.
    not_before: Instant,
    delays: Delays,
}

/// Why the service did not say. The address is in the settings (`paths.imds`).
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("no answer from the instance metadata service at {url}")]
    NoAnswer { url: Url, source: http::Error },
    #[error("the instance metadata service answered {url} with {status}")]
    Refused { url: Url, status: StatusCode },
    #[error("the instance metadata service's answer to {url} makes no sense")]
    Nonsense { url: Url },
}

impl Imds {
    pub(super) fn new(base: Url) -> Result<Self, http::Error> {
        Ok(Self {
            http: Client::new(LIMITS)?,
            base,
            facts: InstanceFacts::default(),
            not_before: Instant::now(),
            delays: RETRY.delays(),
        })
    }

    /// What is known by now.
    pub(super) fn facts(&self) -> &InstanceFacts {
        &self.facts
    }

    /// Asks for what is wanted and not known, unless it failed just now. Takes three times the timeout of [`LIMITS`] at most.
    pub(super) async fn ask(&mut self, wanted: WantedFacts) -> Result<(), Error> {
        let wanted = WantedFacts {
            address: wanted.address && self.facts.address.is_none(),
            zone: wanted.zone && self.facts.zone.is_none(),
        };
        if !(wanted.address || wanted.zone) || Instant::now() < self.not_before {
            return Ok(());
        }
        let asked = self.learn(wanted).await;
        match asked {
            Ok(()) => self.delays.reset(),
            Err(_) => self.not_before = Instant::now() + self.delays.wait(),
        }
        asked
    }

    async fn token(&self) -> Result<String, Error> {
        let url = self.url("/latest/api/token");
        let request = self.http.put(&url).header("X-aws-ec2-metadata-token-ttl-seconds", TOKEN_TTL);
        text(url, request.send().await).await
    }

    async fn learn(&mut self, wanted: WantedFacts) -> Result<(), Error> {
        let token = self.token().await?;
        if wanted.address {
            let (url, address) = self.get("/latest/meta-data/local-ipv4", &token).await?;
            let address: Option<Ipv4Addr> = address.parse().ok().filter(|a: &Ipv4Addr| !a.is_unspecified());
            self.facts.address = Some(IpAddr::V4(address.ok_or(Error::Nonsense { url })?));
        }
        if wanted.zone {
            let (url, zone) = self.get("/latest/meta-data/placement/availability-zone", &token).await?;
            self.facts.zone = Some(untrusted::name(&zone).ok_or(Error::Nonsense { url })?);
        }
        Ok(())
    }

    /// The IPv4 blocks of the VPC that this instance's first interface is in. Nothing of it is kept.
    pub(super) async fn vpc_blocks(&self) -> Result<Vec<IpNet>, Error> {
        let token = self.token().await?;
        let (url, mac) = self.get("/latest/meta-data/mac", &token).await?;
        if !mac.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') {
            return Err(Error::Nonsense { url });
        }
        let path = format!("/latest/meta-data/network/interfaces/macs/{mac}/vpc-ipv4-cidr-blocks");
        let (url, blocks) = self.get(&path, &token).await?;
        let blocks: Result<_, _> = blocks.split_ascii_whitespace().map(str::parse).collect();
        blocks.map_err(|_| Error::Nonsense { url })
    }

    async fn get(&self, path: &str, token: &str) -> Result<(Url, String), Error> {
        let url = self.url(path);
        let answer = self.http.get(&url).header("X-aws-ec2-metadata-token", token).send().await;
        Ok((url.clone(), text(url, answer).await?))
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(path);
        url
    }
}

/// The text of an answer, bounded; anything but a 200 is an error.
async fn text(url: Url, answer: Result<Answer, http::Error>) -> Result<String, Error> {
    let answer = match answer {
        Ok(answer) if answer.status() == StatusCode::OK => answer.body().await,
        Ok(answer) => return Err(Error::Refused { url, status: answer.status() }),
        Err(source) => Err(source),
    };
    match answer {
        Ok(body) => String::from_utf8(body).map_err(|_| Error::Nonsense { url }),
        Err(http::Error::TooLong(_)) => Err(Error::Nonsense { url }),
        Err(source) => Err(Error::NoAnswer { url, source }),
    }
}

#[cfg(test)]
mod tests;
