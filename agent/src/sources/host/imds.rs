//! The instance metadata service (IMDSv2): this instance's address and zone.
//!
//! Owns what has been learnt, which never changes while the instance runs, so that each is asked for until it is known
//! and never again. Only asked on AWS hosts; elsewhere its link-local address may belong to anybody.
//!
//! Format: "Use the Instance Metadata Service to access instance metadata", Amazon EC2 User Guide.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use reqwest::{Response, redirect};
use tokio::time::Instant;
use url::Url;

use super::node::{InstanceFacts, believable};

/// For each request: the service answers from the host itself, within a millisecond or two.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Longest answer that is read, in bytes. Tokens have 56.
const MAX_BODY: usize = 1024;

const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(300);

/// How long a token is good for, in seconds: just for the questions at hand.
const TOKEN_TTL: &str = "60";

/// What to ask for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) address: bool,
    pub(super) zone: bool,
}

#[derive(Debug)]
pub(super) struct Imds {
    http: reqwest::Client,
    base: Url,
    facts: InstanceFacts,
    /// When it may be asked again after a failure, and how long to wait after the next one.
    retry: (Instant, Duration),
}

/// Why the service did not say. The address is in the settings (`paths.imds`).
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("no answer from the instance metadata service at {url}")]
    NoAnswer { url: Url, source: reqwest::Error },
    #[error("the instance metadata service answered {url} with {status}")]
    Refused { url: Url, status: reqwest::StatusCode },
    #[error("the instance metadata service's answer to {url} makes no sense")]
    Nonsense { url: Url },
}

impl Imds {
    pub(super) fn new(base: Url) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(0)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { http, base, facts: InstanceFacts::default(), retry: (Instant::now(), RETRY_FIRST) })
    }

    /// What is known by now.
    pub(super) fn facts(&self) -> &InstanceFacts {
        &self.facts
    }

    /// Asks for what is wanted and not known, unless it failed just now. Takes three times [`TIMEOUT`] at most.
    pub(super) async fn ask(&mut self, wanted: Wanted) -> Result<(), Error> {
        let wanted = Wanted {
            address: wanted.address && self.facts.address.is_none(),
            zone: wanted.zone && self.facts.zone.is_none(),
        };
        let (not_before, delay) = self.retry;
        if !(wanted.address || wanted.zone) || Instant::now() < not_before {
            return Ok(());
        }
        let asked = self.learn(wanted).await;
        self.retry = match asked {
            Ok(()) => (Instant::now(), RETRY_FIRST),
            Err(_) => (Instant::now() + delay, (delay * 2).min(RETRY_LAST)),
        };
        asked
    }

    async fn learn(&mut self, wanted: Wanted) -> Result<(), Error> {
        let url = self.url("/latest/api/token");
        let request = self.http.put(url.clone()).header("X-aws-ec2-metadata-token-ttl-seconds", TOKEN_TTL);
        let token = text(url, request.send().await).await?;
        if wanted.address {
            let (url, address) = self.get("/latest/meta-data/local-ipv4", &token).await?;
            let address: Option<Ipv4Addr> = address.parse().ok().filter(|a: &Ipv4Addr| !a.is_unspecified());
            self.facts.address = Some(IpAddr::V4(address.ok_or(Error::Nonsense { url })?));
        }
        if wanted.zone {
            let (url, zone) = self.get("/latest/meta-data/placement/availability-zone", &token).await?;
            self.facts.zone = Some(believable(zone).ok_or(Error::Nonsense { url })?);
        }
        Ok(())
    }

    async fn get(&self, path: &str, token: &str) -> Result<(Url, String), Error> {
        let url = self.url(path);
        let answer = self.http.get(url.clone()).header("X-aws-ec2-metadata-token", token).send().await;
        Ok((url.clone(), text(url, answer).await?))
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(path);
        url
    }
}

/// The text of an answer, bounded; anything but a 200 is an error.
async fn text(url: Url, answer: Result<Response, reqwest::Error>) -> Result<String, Error> {
    let no_answer = |source: reqwest::Error| Error::NoAnswer { url: url.clone(), source: source.without_url() };
    let mut response = answer.map_err(no_answer)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(Error::Refused { url, status: response.status() });
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(Error::Nonsense { url });
        }
        body.extend_from_slice(&chunk);
    }
    String::from_utf8(body).map_err(|_| Error::Nonsense { url })
}

#[cfg(test)]
mod tests;
