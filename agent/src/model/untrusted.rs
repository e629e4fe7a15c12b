//! A stranger's text, made fit to be kept or shown: bounded, and where it is shown, one line without control characters.
//!
//! Who escapes what he shows instead (`config::reader` in its messages, `telemetry::logs` and `cli::text` on terminals)
//! does that where he writes.

use std::sync::Arc;

/// The most characters that are shown of somebody else's words.
pub const MAX_EXCERPT: usize = 300;
/// Longest name (host, zone, version) that is believed, in bytes.
const MAX_NAME: usize = 255;

/// What of a text fits so many bytes. Nothing but its length is changed.
#[must_use]
pub fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or_default()
}

/// The first so many characters of a text, on one line: a space stands for each control character.
#[must_use]
pub fn one_line(text: &str, characters: usize) -> String {
    text.chars().take(characters).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Somebody else's words on one line, at most [`MAX_EXCERPT`] characters of them, and an ellipsis where there were more.
#[must_use]
pub fn excerpt(words: &str) -> Arc<str> {
    let words = words.trim();
    let mut line = one_line(words, MAX_EXCERPT);
    if words.chars().nth(MAX_EXCERPT).is_some() {
        line.push('…');
    }
    line.into()
}

/// The name of a host, a zone or a version, if it can be one: 1 to 255 printable ASCII characters, no white space.
#[must_use]
pub fn name(text: &str) -> Option<Arc<str>> {
    let fits = (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| text.into())
}

#[cfg(test)]
mod tests;
