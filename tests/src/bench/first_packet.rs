//! What the first packet of a connection costs when few and when many services are programmed.
//!
//! Measured as the time of `connect()` to the last service: of its three packets the rules see the first alone. Each
//! number of services has a world of its own; rounds go through all of them.

use anyhow::{Context as _, Result};

use super::Settings;
use super::legs::{Client, Leg};
use super::report::{DIRECT, Figure, Report};
use super::services::Services;
use super::stats::{Latencies, median};

const SIZES: [u32; 4] = [10, 1_000, 5_000, 10_000];
/// How much slower the first packet may be with the most services than with the fewest.
const BUDGET: f64 = 1.10;
const FIGURE: &str = "connect() through the last of many services";

/// Measures all sizes on both roads, and a road without services.
pub(crate) fn measure(settings: &Settings, report: &mut Report) -> Result<()> {
    let mut series = vec![Series::new(Leg::direct(Client::Container)?, None)];
    for size in SIZES {
        let services = Services::new(size);
        series.push(Series::new(Leg::meshdog(Client::Container, services)?, Some(size)));
        series.push(Series::new(Leg::iptables(services)?, Some(size)));
    }
    let rounds = settings.rounds * 4;
    let many = series.len();
    for round in 0..rounds {
        for nth in 0..many {
            if let Some(series) = series.get_mut((nth + round) % many) {
                series.round(settings.connects)?;
            }
        }
    }

    for own in &series {
        let fewest = series.iter().find(|other| other.leg.name == own.leg.name && other.size == SIZES.first().copied());
        let direct = series.first().context("no direct leg")?;
        let [p50, p99] = own.all.clone().percentiles([50.0, 99.0])?;
        let name = own.size.map_or(own.leg.name.clone(), |size| format!("{}, {size} services", own.leg.name));
        let mut figure = Figure::new(FIGURE, name, p50, "us").latency(p50, p99);
        if let Some(size) = own.size {
            figure = figure.ratio(DIRECT, own.ratio(direct));
            if let Some(fewest) = fewest.filter(|fewest| fewest.size != own.size) {
                let growth = own.ratio(fewest);
                figure = figure.ratio("10 services", growth);
                if own.leg.name == "meshdog" {
                    figure = figure.at_most(growth, BUDGET);
                }
            }
            let rival = series.iter().find(|other| other.leg.name == "iptables" && other.size == Some(size));
            if let Some(rival) = rival.filter(|rival| rival.leg.name != own.leg.name) {
                figure = figure.ratio("iptables", own.ratio(rival));
            }
        }
        report.add(figure)?;
    }
    Ok(())
}

/// One leg with one number of services.
#[derive(Debug)]
struct Series {
    leg: Leg,
    size: Option<u32>,
    medians: Vec<f64>,
    all: Latencies,
}

impl Series {
    fn new(leg: Leg, size: Option<u32>) -> Self {
        Self { leg, size, medians: Vec::new(), all: Latencies::default() }
    }

    fn round(&mut self, connects: usize) -> Result<()> {
        let latencies = self.leg.connects(connects).with_context(|| format!("{}, {:?}", self.leg.name, self.size))?;
        let [p50] = latencies.clone().percentiles([50.0])?;
        self.medians.push(p50);
        self.all.merge(latencies);
        Ok(())
    }

    /// The middle of the rounds' ratios of the median latency to another's.
    fn ratio(&self, to: &Self) -> f64 {
        median(self.medians.iter().zip(&to.medians).map(|(own, other)| own / other))
    }
}
