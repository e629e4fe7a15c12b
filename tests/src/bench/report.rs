//! Figures: a JSON line each as they are measured, and one table at the end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// The leg that all others are held against.
pub(crate) const DIRECT: &str = "direct";

/// One measured figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Figure {
    figure: String,
    leg: String,
    value: f64,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_to_direct: Option<f64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ratio_to: BTreeMap<String, f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<bool>,
}

impl Figure {
    pub(crate) fn new(figure: impl Into<String>, leg: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            figure: figure.into(),
            leg: leg.into(),
            value,
            unit,
            p50_us: None,
            p99_us: None,
            ratio_to_direct: None,
            ratio_to: BTreeMap::new(),
            budget: None,
            met: None,
        }
    }

    /// Adds the latencies that the value was measured with, in microseconds.
    pub(crate) fn latency(self, p50: f64, p99: f64) -> Self {
        Self { p50_us: Some(p50), p99_us: Some(p99), ..self }
    }

    /// Adds the ratio to another leg's value.
    pub(crate) fn ratio(mut self, to: &str, ratio: f64) -> Self {
        if to == DIRECT {
            self.ratio_to_direct = Some(ratio);
        } else {
            self.ratio_to.insert(to.to_owned(), ratio);
        }
        self
    }

    /// Holds a number, the value or one of its ratios, against the least it may be.
    pub(crate) fn at_least(self, number: f64, budget: f64) -> Self {
        Self { budget: Some(format!(">= {budget}")), met: Some(number >= budget), ..self }
    }

    /// Holds a number, the value or one of its ratios, against the most it may be.
    pub(crate) fn at_most(self, number: f64, budget: f64) -> Self {
        Self { budget: Some(format!("<= {budget}")), met: Some(number <= budget), ..self }
    }

    /// The figure's cells in the table.
    fn row(&self) -> [String; 8] {
        let number = |value: Option<f64>| value.map(readable).unwrap_or_default();
        let others: Vec<_> =
            self.ratio_to.iter().map(|(leg, ratio)| format!("{} of {leg}", readable(*ratio))).collect();
        let met = self.met.map_or("", |met| if met { "yes" } else { "NO" });
        [
            self.leg.clone(),
            format!("{} {}", readable(self.value), self.unit),
            number(self.p50_us),
            number(self.p99_us),
            number(self.ratio_to_direct),
            self.budget.clone().unwrap_or_default(),
            met.to_owned(),
            others.join(", "),
        ]
    }
}

const HEAD: [&str; 8] = ["", "value", "p50 us", "p99 us", "of direct", "budget", "met", "other ratios"];

/// Three digits or so, as people read them.
fn readable(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// All figures of a run.
#[derive(Debug)]
pub(crate) struct Report {
    lines: File,
    figures: Vec<Figure>,
}

impl Report {
    /// Starts the file of JSON lines anew; its first line says where and how the run is measured.
    pub(crate) fn create(path: &Path, conditions: &serde_json::Value) -> Result<Self> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let lines = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut report = Self { lines, figures: Vec::new() };
        report.line(conditions)?;
        Ok(report)
    }

    pub(crate) fn add(&mut self, figure: Figure) -> Result<()> {
        self.line(&figure)?;
        self.figures.push(figure);
        Ok(())
    }

    fn line(&mut self, value: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(value)?;
        writeln!(self.lines, "{line}")?;
        Ok(writeln!(io::stdout(), "{line}")?)
    }

    /// Writes the table to stdout.
    pub(crate) fn print(&self) -> Result<()> {
        Ok(io::stdout().write_all(table(&self.figures).as_bytes())?)
    }
}

/// Figures under their headings, in the order they were first measured.
fn table(figures: &[Figure]) -> String {
    let place = |figure: &Figure| figures.iter().position(|first| first.figure == figure.figure);
    let mut rows: Vec<_> = figures.iter().map(|figure| (figure.figure.as_str(), figure.row(), place(figure))).collect();
    rows.sort_by_key(|(_, _, place)| *place);
    let widths: [usize; 8] = std::array::from_fn(|column| {
        let cells = rows.iter().filter_map(|(_, row, _)| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(HEAD.get(column).map(|head| head.len())).max().unwrap_or_default()
    });
    let line = |cells: [&str; 8]| {
        let padded: Vec<_> = cells
            .iter()
            .zip(widths)
            .enumerate()
            .map(|(column, (cell, width))| match column {
                1..=4 => format!("{cell:>width$}"),
                _ => format!("{cell:<width$}"),
            })
            .collect();
        format!("  {}\n", padded.join("  ").trim_end()).replace("  \n", "\n")
    };
    let mut text = String::new();
    let mut heading = "";
    for (figure, row, _) in &rows {
        if *figure != heading {
            text += &format!("\n{figure}\n{}", line(HEAD));
            heading = figure;
        }
        text += &line(row.each_ref().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests;
