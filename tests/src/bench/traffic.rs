//! Requests and new connections a second, on every road.
//!
//! Rounds go through all legs in turn, so that a disturbance of the machine falls on all of them; each ratio is taken
//! within its round, and the middle one is reported.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::Settings;
use super::envoy::Filter;
use super::legs::{Client, Leg};
use super::load::Load;
use super::report::{Figure, Report};
use super::services::Services;
use super::stats::{Sample, median};

/// How many services are programmed beside and with those that are dialled.
const SERVICES: u32 = 100;
/// The least that is asked of a VIP, as ratios to direct (ARCHITECTURE.md, "Budgets").
const BUDGET_KEPT: f64 = 0.80;
const BUDGET_FRESH: f64 = 0.85;
/// The leg whose ratio to every other is of interest.
const SUBJECT: &str = "meshdog";

/// Measures one kind of load on all legs.
pub(crate) fn measure(load: Load, settings: &Settings, report: &mut Report) -> Result<()> {
    let (what, unit, clients, length, budget) = match load {
        Load::Kept => ("requests on kept connections", "requests/s", 64, settings.slice, BUDGET_KEPT),
        // Shorter: all connections of a leg lie in TIME_WAIT together, and a client that is short of ports is slow.
        Load::Fresh => ("new connections", "connections/s", 32, settings.slice / 4, BUDGET_FRESH),
    };
    let legs = legs(&settings.envoy)?;
    let mut results: Vec<Results> = legs.iter().map(|_| Results::default()).collect();
    for round in 0..settings.rounds {
        for nth in 0..legs.len() {
            let nth = (nth + round) % legs.len();
            if let (Some(leg), Some(results)) = (legs.get(nth), results.get_mut(nth)) {
                let (sample, retransmits) = leg.load(load, clients, length).with_context(|| leg.name.clone())?;
                results.samples.push(sample);
                results.retransmits += retransmits;
            }
        }
    }

    let find = |name: &str| legs.iter().zip(&results).find(|(leg, _)| leg.name == name).map(|(_, results)| results);
    for (leg, own) in legs.iter().zip(&results) {
        let mut figure = Figure::new(what, &leg.name, own.middle(|sample| sample.rate), unit)
            .latency(own.middle(|sample| sample.p50), own.middle(|sample| sample.p99));
        let base = find(&leg.baseline).context("no leg to compare with")?;
        if leg.name != leg.baseline {
            let ratio = own.ratio(base);
            figure = figure.ratio(super::report::DIRECT, ratio);
            if leg.name.starts_with(SUBJECT) {
                figure = figure.at_least(ratio, budget);
            }
        }
        if leg.name == SUBJECT {
            let others = legs.iter().zip(&results).filter(|(other, _)| other.baseline == leg.baseline);
            for (other, results) in others.filter(|(other, _)| ![&leg.name, &leg.baseline].contains(&&other.name)) {
                figure = figure.ratio(&other.name, own.ratio(results));
            }
        }
        report.add(figure)?;
    }
    if load == Load::Fresh {
        for (leg, own) in legs.iter().zip(&results) {
            let figure = Figure::new("SYNs sent again", &leg.name, own.retransmits as f64, "SYNs");
            let subject = leg.name.starts_with(SUBJECT);
            report.add(if subject { figure.at_most(own.retransmits as f64, 0.0) } else { figure })?;
        }
    } else {
        for leg in &legs {
            let proxies = leg.proxies_mib()?;
            if !proxies.is_empty() {
                report.add(Figure::new("memory of the proxies on the road", &leg.name, proxies.iter().sum(), "MiB"))?;
            }
        }
    }
    Ok(())
}

fn legs(envoy: &Path) -> Result<Vec<Leg>> {
    let services = Services::new(SERVICES);
    Ok(vec![
        Leg::direct(Client::Container)?,
        Leg::meshdog(Client::Container, services)?,
        Leg::one_rule(services)?,
        Leg::iptables(services)?,
        Leg::envoy_one_hop(envoy, Filter::Tcp)?,
        Leg::envoy_one_hop(envoy, Filter::Http)?,
        Leg::envoy_two_hops(envoy, Filter::Tcp)?,
        Leg::envoy_two_hops(envoy, Filter::Http)?,
        Leg::direct(Client::ContainerFiltered)?,
        Leg::meshdog(Client::ContainerFiltered, services)?,
        Leg::direct(Client::Host)?,
        Leg::meshdog(Client::Host, services)?,
    ])
}

/// What all rounds gave on one leg.
#[derive(Debug, Default)]
struct Results {
    samples: Vec<Sample>,
    retransmits: u64,
}

impl Results {
    fn middle(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(of))
    }

    /// The ratio of this leg's rate to another's.
    fn ratio(&self, to: &Self) -> f64 {
        median(self.samples.iter().zip(&to.samples).map(|(own, other)| own.rate / other.rate))
    }
}
