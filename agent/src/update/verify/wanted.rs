//! The checks that the settings ask for: services of this node, URLs, addresses.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use url::Url;

use super::report::{Finding, first_of};
use crate::clients::http;
use crate::model::endpoint::of_service;
use crate::model::{DiscoveryName, EndpointState, Endpoints, Namespace, ServiceId, error_chain};

/// One check.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The same for the same settings, each once.
    name: Arc<str>,
    target: Target,
}

#[derive(Debug)]
enum Target {
    Service(ServiceId),
    Http(Url),
    Tcp(SocketAddr),
}

/// Why something does not answer as it should. Whoever shows it names the address.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Its text must not show the URL, which may carry a secret.
    #[error("no answer")]
    Http(#[source] http::Error),
    #[error("status {0}; 200 to 299 is well")]
    Status(u16),
    #[error("no connection")]
    Connect(#[source] io::Error),
}

/// The checks in the order of the settings.
pub(super) fn list(namespace: &Namespace, services: &[DiscoveryName], http: &[Url], tcp: &[SocketAddr]) -> Vec<Wanted> {
    let services = services.iter().map(|name| ServiceId { namespace: namespace.clone(), name: name.clone() });
    let services = services.map(|id| (format!("service {id}"), Target::Service(id)));
    let http = http.iter().map(|url| (format!("http {}", shown(url)), Target::Http(url.clone())));
    let tcp = tcp.iter().map(|address| (format!("tcp {address}"), Target::Tcp(*address)));
    // URLs may differ in what is not shown.
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let named = services.chain(http).chain(tcp).map(|(name, target)| {
        let times = seen.entry(name.clone()).or_default();
        *times += 1;
        let name = if *times == 1 { name } else { format!("{name} ({times})") };
        Wanted { name: name.into(), target }
    });
    named.collect()
}

/// A URL without what may be a secret: user, password, query, fragment.
fn shown(url: &Url) -> String {
    let mut bare = url.clone();
    // Fails only where there can be none.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    bare.set_query(None);
    bare.set_fragment(None);
    format!("{bare}{}", if url.query().is_some() { "?…" } else { "" })
}

impl Wanted {
    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether it is about an endpoint of this node.
    pub(super) fn is_service(&self) -> bool {
        matches!(self.target, Target::Service(_))
    }

    /// Looks once, for as long as it takes. `own` is `None` while this node's endpoints are not known.
    pub(super) async fn look(&self, http: &http::Client, own: Option<&Endpoints>) -> Finding {
        let answer = match &self.target {
            Target::Service(id) => return service(id, own),
            Target::Http(url) => get(http, url).await,
            Target::Tcp(address) => connect(*address).await,
        };
        answer.map_err(|failure| error_chain(&failure))
    }
}

async fn get(http: &http::Client, url: &Url) -> Result<String, Failure> {
    // The body is of no interest, and as long as the stranger likes: it is not read.
    let status = http.get(url).send().await.map_err(Failure::Http)?.status().as_u16();
    match status {
        200..=299 => Ok(format!("status {status}")),
        _ => Err(Failure::Status(status)),
    }
}

async fn connect(address: SocketAddr) -> Result<String, Failure> {
    TcpStream::connect(address).await.map_err(Failure::Connect)?;
    Ok("accepts connections".to_owned())
}

fn service(id: &ServiceId, own: Option<&Endpoints>) -> Finding {
    let own = own.ok_or_else(|| "no endpoint is known yet".to_owned())?;
    let endpoints = || of_service(own, id);
    match endpoints().filter(|endpoint| endpoint.state == EndpointState::Healthy).count() {
        0 if endpoints().next().is_none() => Err("no endpoint runs here".to_owned()),
        0 => {
            let unwell = endpoints().map(|e| format!("{} is {} ({})", e.id, e.state, e.reason));
            Err(format!("no endpoint here is healthy: {}", first_of(&unwell.collect::<Vec<_>>())))
        }
        healthy => Ok(format!("{healthy} healthy here")),
    }
}

#[cfg(test)]
mod tests;
