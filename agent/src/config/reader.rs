//! A typed walk over a TOML document that notes every fault and goes on.
//!
//! A [`TomlTable`] knows a key once it has been asked for it; whatever is left when the table has been read is an unknown
//! key. A key that is absent or bad reads as `None`: the default that the caller then takes is never seen where there
//! was a fault, since a document with faults gives no settings.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::errors::Faults;
use crate::model::nearest;

/// Longest text value, in bytes (`PATH_MAX`, the longest thing that a value may be).
const MAX_TEXT: usize = 4096;
/// How much of an unknown key is shown and compared, in characters.
const MAX_SHOWN: usize = 64;

/// A table that is being read.
pub(super) struct TomlTable<'d, 'f> {
    /// As messages name it, such as `[mesh]`.
    name: &'static str,
    /// Where it begins.
    at: usize,
    /// Absent: the document does not have it, and every key takes its default.
    entries: Option<&'d DeTable<'d>>,
    known: Vec<&'static str>,
    faults: &'f mut Faults,
}

impl<'d> TomlTable<'d, '_> {
    /// Reads a whole document.
    pub(super) fn root<R>(
        document: &'d DeTable<'d>,
        faults: &mut Faults,
        read: impl FnOnce(&mut TomlTable<'d, '_>) -> R,
    ) -> R {
        TomlTable::read("the top level", 0, Some(document), faults, read)
    }

    fn read<R>(
        name: &'static str,
        at: usize,
        entries: Option<&'d DeTable<'d>>,
        faults: &mut Faults,
        read: impl FnOnce(&mut TomlTable<'d, '_>) -> R,
    ) -> R {
        let mut table = TomlTable { name, at, entries, known: Vec::new(), faults };
        let value = read(&mut table);
        table.refuse_unknown();
        value
    }

    /// The value of a key that may be absent.
    pub(super) fn get<T>(
        &mut self,
        key: &'static str,
        convert: impl FnOnce(&'d DeValue<'d>) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.take(key)?;
        convert(value.get_ref()).map_err(|problem| self.wrong(value.span().start, key, problem)).ok()
    }

    /// The values of a list that may be absent, each with its place in the file. No two are the same.
    pub(super) fn list<T: PartialEq>(
        &mut self,
        key: &'static str,
        lengths: RangeInclusive<usize>,
        convert: impl Fn(&'d DeValue<'d>) -> Result<T, String>,
    ) -> Option<Vec<Spanned<T>>> {
        let items = self.items(key, lengths, "a list, as in [\"a\", \"b\"]")?;
        let mut list: Vec<Spanned<T>> = Vec::with_capacity(items.len());
        for item in items {
            match convert(item.get_ref()) {
                Ok(value) if list.iter().any(|other| *other.get_ref() == value) => {
                    self.wrong(item.span().start, key, "is listed twice; keep one");
                }
                Ok(value) => list.push(Spanned::new(item.span(), value)),
                Err(problem) => self.wrong(item.span().start, key, problem),
            }
        }
        Some(list)
    }

    /// A table within this one. An absent one is read as if it were empty, so that its keys take their defaults.
    pub(super) fn table<R>(
        &mut self,
        key: &'static str,
        name: &'static str,
        read: impl FnOnce(&mut TomlTable<'d, '_>) -> R,
    ) -> R {
        let value = self.take(key);
        let entries = value.and_then(|value| value.get_ref().as_table());
        if let (Some(value), None) = (value, entries) {
            self.wrong(value.span().start, key, mismatch(value.get_ref(), &format!("a table, {name}")));
        }
        TomlTable::read(name, value.map_or(self.at, |value| value.span().start), entries, self.faults, read)
    }

    /// The tables of an array of tables (`[[name]]`), at most `max`.
    pub(super) fn tables<R>(
        &mut self,
        key: &'static str,
        name: &'static str,
        max: usize,
        mut read: impl FnMut(&mut TomlTable<'d, '_>) -> R,
    ) -> Vec<R> {
        let mut list = Vec::new();
        for item in self.items(key, 0..=max, &format!("it as {name}")).unwrap_or_default() {
            let at = item.span().start;
            match item.get_ref().as_table() {
                Some(entries) => list.push(TomlTable::read(name, at, Some(entries), self.faults, &mut read)),
                None => self.wrong(at, key, mismatch(item.get_ref(), &format!("a table, {name}"))),
            }
        }
        list
    }

    /// A table whose keys the user chooses, at most `max` of them.
    pub(super) fn map<T>(
        &mut self,
        key: &'static str,
        max: usize,
        convert: impl Fn(&'d DeValue<'d>) -> Result<T, String>,
    ) -> Vec<(String, T)> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let at = value.span().start;
        let Some(entries) = value.get_ref().as_table() else {
            self.wrong(at, key, mismatch(value.get_ref(), "a table, as in { \"key\" = \"value\" }"));
            return Vec::new();
        };
        if entries.len() > max {
            self.wrong(at, key, too_many(entries.len(), max));
            return Vec::new();
        }
        let mut list = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            match convert(value.get_ref()) {
                Ok(value) => list.push((name.get_ref().to_string(), value)),
                Err(problem) => self.wrong(value.span().start, key, problem),
            }
        }
        list
    }

    /// Whether the table has this key, well written or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.is_some_and(|entries| entries.contains_key(key))
    }

    /// The value of a key that may be text or something else, where it is text.
    pub(super) fn if_text(&mut self, key: &'static str) -> Option<&'d str> {
        self.take(key).and_then(|value| value.get_ref().as_str())
    }

    /// Whether the document has this table, and nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_some_and(DeTable::is_empty)
    }

    /// Where a key's value stands; where the key is absent, where the table begins.
    pub(super) fn place(&self, key: &str) -> Range<usize> {
        let value = self.entries.and_then(|entries| entries.get(key));
        value.map_or(self.at..self.at, |value| value.span())
    }

    /// Notes a fault where the key is absent.
    pub(super) fn require(&mut self, key: &'static str, advice: &str) {
        if !self.has(key) {
            self.faults.missing(self.at, format!("`{key}` is missing from {}; {advice}", self.name));
        }
    }

    /// Notes a fault of a key's value that only shows beside other values.
    pub(super) fn fault(&mut self, key: &'static str, problem: impl Display) {
        self.wrong(self.place(key).start, key, problem);
    }

    /// The same at a place within the value.
    pub(super) fn fault_at<T>(&mut self, place: &Spanned<T>, key: &'static str, problem: impl Display) {
        self.wrong(place.span().start, key, problem);
    }

    fn take(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.entries?.get(key)
    }

    fn items(
        &mut self,
        key: &'static str,
        lengths: RangeInclusive<usize>,
        expected: &str,
    ) -> Option<&'d [Spanned<DeValue<'d>>]> {
        let value = self.take(key)?;
        let items = value.get_ref().as_array().map(|array| array.as_ref());
        let problem = match items {
            None => mismatch(value.get_ref(), expected),
            Some([]) if *lengths.start() > 0 => "is empty; write at least one, or leave the key out".to_owned(),
            Some(items) if items.len() > *lengths.end() => too_many(items.len(), *lengths.end()),
            Some(items) => return Some(items),
        };
        self.wrong(value.span().start, key, problem);
        None
    }

    fn wrong(&mut self, at: usize, key: &'static str, problem: impl Display) {
        self.faults.wrong(at, format!("`{key}` in {}: {problem}", self.name));
    }

    fn refuse_unknown(self) {
        for key in self.entries.into_iter().flat_map(|entries| entries.keys()) {
            if self.known.contains(&key.get_ref().as_ref()) {
                continue;
            }
            let shown = shown(key.get_ref());
            let advice = match nearest(&shown, &self.known) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known keys are {}", self.known.join(", ")),
            };
            self.faults.wrong(key.span().start, format!("unknown key `{shown}` in {}; {advice}", self.name));
        }
    }
}

/// A text as it may stand in a one-line message.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

fn too_many(found: usize, max: usize) -> String {
    format!("has {found} entries; at most {max} are allowed")
}

fn mismatch(found: &DeValue<'_>, expected: &str) -> String {
    let found = match found {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    format!("found {found}; write {expected}")
}

/// A text of at most 4096 bytes.
pub(super) fn text<'d>(value: &'d DeValue<'d>) -> Result<&'d str, String> {
    match value {
        DeValue::String(text) if text.len() <= MAX_TEXT => Ok(text),
        DeValue::String(text) => Err(format!("has {} bytes; at most {MAX_TEXT} are allowed", text.len())),
        other => Err(mismatch(other, "text in double quotes")),
    }
}

/// A text that reads as a `T`, whose errors say what would be right.
pub(super) fn parsed<T: FromStr<Err: Display>>(value: &DeValue<'_>) -> Result<T, String> {
    text(value)?.parse().map_err(|problem: T::Err| problem.to_string())
}

/// One of a few words.
pub(super) fn word<T: Copy>(words: &[(&str, T)]) -> impl Fn(&DeValue<'_>) -> Result<T, String> {
    move |value| {
        let found = text(value)?;
        let known = words.iter().find(|(word, _)| *word == found);
        known.map(|&(_, meaning)| meaning).ok_or_else(|| {
            let words: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            format!("\"{}\" is unknown; write {}", shown(found), words.join(" or "))
        })
    }
}

/// `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| mismatch(value, "true or false"))
}

/// A whole number within a range.
pub(super) fn whole<T>(range: RangeInclusive<T>) -> impl Fn(&DeValue<'_>) -> Result<T, String>
where
    T: TryFrom<i64> + PartialOrd + Display,
{
    move |value| {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        let DeValue::Integer(digits) = value else { return Err(mismatch(value, &expected)) };
        let number = i64::from_str_radix(digits.as_str(), digits.radix()).ok().and_then(|n| T::try_from(n).ok());
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("{} is out of range; write {expected}", shown(digits.as_str())))
    }
}

/// A part of a whole: a number from 0 to 1.
pub(super) fn fraction(value: &DeValue<'_>) -> Result<f64, String> {
    let written = match value {
        DeValue::Float(number) => number.as_str(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
        other => return Err(mismatch(other, "a number from 0.0 to 1.0")),
    };
    let number = written.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| format!("{} is out of range; write a number from 0.0 to 1.0", shown(written)))
}
