//! What somebody may have meant by a word that is not known.

use super::untrusted::cut;

/// How alike two words must be for the one to be taken for the other (Jaro-Winkler, 0 to 1).
const ALIKE: f64 = 0.8;
/// How much of an unknown word is compared, in bytes: the comparison takes time in the product of both lengths.
const MAX_COMPARED: usize = 256;

/// The known word that an unknown one was meant to be, whatever its case and whether it was written with `-` or `_`.
#[must_use]
pub fn nearest(unknown: &str, known: &[&'static str]) -> Option<&'static str> {
    let unknown = cut(unknown, MAX_COMPARED).to_lowercase().replace('-', "_");
    let scored = known.iter().map(|known| (strsim::jaro_winkler(&unknown, known), *known));
    scored.filter(|(score, _)| *score >= ALIKE).max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, known)| known)
}

#[cfg(test)]
mod tests;
