//! Whether the node's workloads do as well as before: the checks that an update is judged by.
//!
//! Owns the list of checks. Receives how the sources and the data plane are doing, what is desired, and this node's
//! endpoints as their health says; emits a [`Baseline`] before an update and a [`Report`] for every look after it. Never
//! decides how long a check must hold or what becomes of the update, and never changes anything.
//!
//! `report` is what was found, `endpoints` (pure) counts, `vips` dials services, `names` asks the resolver, `wanted` holds the checks that the
//! settings ask for. All checks of a look run at once and each has 5 s, so a look never takes much longer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::timeout;

pub use self::report::{Baseline, Check, Report};
use self::report::{EACH, Finding};
use self::wanted::Wanted;
use crate::clients::http;
use crate::config::update::VerifySettings;
use crate::dataplane::DataplaneState;
use crate::model::{Desired, Endpoints, Namespace, Source, SourceState};
use crate::names::dns::SelfQuery;

mod endpoints;
mod names;
mod report;
mod vips;
mod wanted;

/// A check gives up by itself, in words of its own; no body is read.
const HTTP: http::Limits = http::Limits::new(Duration::from_secs(10), 0);
/// How long the kernel may take to hold what is desired: it changes all the time, and a change takes milliseconds.
const CATCH_UP: Duration = Duration::from_secs(2);

/// Why there can be no checks.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The HTTP client.
    #[error("cannot make an HTTP client for update.verify.http")]
    Client(#[source] http::Error),
}

/// Where the checks look.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// How the host's API is doing.
    pub host_api: watch::Receiver<Source>,
    /// How Docker is doing.
    pub docker: watch::Receiver<Source>,
    /// How the data plane is doing.
    pub dataplane: watch::Receiver<DataplaneState>,
    /// What the mesh decided; `None` until every source has given its first snapshot.
    pub desired: watch::Receiver<Option<Arc<Desired>>>,
    /// This node's endpoints with the states that their health gives them: before any drain.
    pub own: watch::Receiver<Option<Endpoints>>,
}

/// The checks.
#[derive(Debug)]
pub struct Verify {
    min_healthy: f64,
    wanted: Vec<Wanted>,
    http: http::Client,
    resolver: Option<SelfQuery>,
    inputs: Inputs,
}

impl Verify {
    /// The checks of a node of this namespace. `resolver`: how to ask the agent's own resolver, where it answers
    /// containers' queries.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(
        settings: &VerifySettings,
        namespace: &Namespace,
        resolver: Option<SelfQuery>,
        inputs: Inputs,
    ) -> Result<Self, Error> {
        let wanted = wanted::list(namespace, &settings.services, &settings.http, &settings.tcp);
        let http = http::Client::new(HTTP).map_err(Error::Client)?;
        Ok(Self { min_healthy: settings.min_healthy, wanted, http, resolver, inputs })
    }

    /// What is well now: to be taken before the update.
    pub async fn baseline(&self) -> Baseline {
        let own = self.inputs.own.borrow().clone();
        let looks = self.wanted.iter().map(|wanted| async {
            // Not known is no failure, and must not become an excuse.
            let known = own.is_some() || !wanted.is_service();
            (known && self.look(wanted, own.as_ref()).await.is_err()).then(|| wanted.name().to_string())
        });
        let failed = join_all(looks).await.into_iter().flatten().collect();
        Baseline { healthy: own.as_ref().map(endpoints::healthy).unwrap_or_default(), failed }
    }

    /// One look at every check, in this order: `host-api`, `docker`, `dataplane`, `vip`, `dns` (where the resolver is
    /// ours), `endpoints`, then `service`, `http` and `tcp` as the settings list them.
    pub async fn check(&self, baseline: &Baseline) -> Report {
        let own = self.inputs.own.borrow().clone();
        let looks = join_all(self.wanted.iter().map(|wanted| self.look(wanted, own.as_ref())));
        let (dataplane, vip, dns, looks) =
            tokio::join!(within(self.dataplane()), within(self.vip(own.as_ref())), self.dns(), looks);
        let mut checks = vec![
            Check::new("host-api", source(&self.inputs.host_api.borrow())),
            Check::new("docker", source(&self.inputs.docker.borrow())),
            Check::new("dataplane", dataplane),
            Check::new("vip", vip),
        ];
        checks.extend(dns.map(|dns| Check::new("dns", dns)));
        checks.push(endpoints::compare(baseline, own.as_ref().map(endpoints::healthy).as_ref(), self.min_healthy));
        let looks = self.wanted.iter().zip(looks);
        checks.extend(looks.map(|(wanted, look)| Check::new(wanted.name().clone(), look).excused_by(baseline)));
        Report { checks }
    }

    async fn look(&self, wanted: &Wanted, own: Option<&Endpoints>) -> Finding {
        within(wanted.look(&self.http, own)).await
    }

    async fn dataplane(&self) -> Finding {
        if self.inputs.desired.borrow().is_none() {
            return Err("nothing is desired yet: a source has not given its first snapshot".to_owned());
        }
        let mut state = self.inputs.dataplane.clone();
        let in_sync = timeout(CATCH_UP, state.wait_for(|state| state.in_sync())).await.is_ok_and(|state| state.is_ok());
        let failures = self.inputs.dataplane.borrow().failures();
        match in_sync {
            true => Ok("the kernel holds what is desired".to_owned()),
            false => Err(format!("the kernel does not hold what is desired; it refused {failures} transactions")),
        }
    }

    async fn vip(&self, own: Option<&Endpoints>) -> Finding {
        let desired = self.inputs.desired.borrow().clone();
        match desired {
            Some(desired) => vips::look(&desired, own).await,
            None => Err("no service is known yet".to_owned()),
        }
    }

    async fn dns(&self) -> Option<Finding> {
        let resolver = self.resolver.as_ref()?;
        Some(within(names::look(resolver, &self.inputs.desired)).await)
    }
}

fn source(source: &Source) -> Finding {
    let word = source.state.as_str().to_owned();
    match &source.state {
        SourceState::Up => Ok(word),
        SourceState::Down(why) => Err(format!("{word}: {why}")),
        SourceState::Starting | SourceState::Off => Err(word),
    }
}

/// Gives a check up after [`EACH`].
async fn within(look: impl Future<Output = Finding>) -> Finding {
    timeout(EACH, look).await.unwrap_or_else(|_| Err(format!("no answer within {EACH:?}")))
}

#[cfg(test)]
mod tests;
