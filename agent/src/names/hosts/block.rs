//! The text of a hosts file: which of its bytes are ours, and what is to stand there instead. Pure.
//!
//! Ours are the lines between two markers, at the end. Whoever else writes into the file (Docker adds lines at the end,
//! a container does as it likes) wins: no line of theirs is changed, and no name that they define is told by us.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use crate::model::{AliasName, Family, Names};

pub(super) use crate::model::{HOSTS_BEGIN as BEGIN, HOSTS_END as END};

/// The most names in a block.
pub(super) const MAX_NAMES: usize = 1000;
/// The most bytes of a block's lines.
pub(super) const MAX_BYTES: usize = 64 << 10;

/// What hosts files are to tell. Made once, and shared by all files that tell the same.
#[derive(Debug, Default)]
pub(super) struct Block {
    names: Names,
    lines: String,
}

impl Block {
    /// As many of the names as may stand in a block, in their order; whether that is all of them.
    pub(super) fn of(names: &Names) -> (Self, bool) {
        let mut block = Self::default();
        for (name, vips) in names.iter().filter(|(name, _)| name.as_str() != "localhost") {
            // A container that has no route for IPv6 would try it all the same.
            let Some(vip) = vips.get(Family::V4) else { continue };
            let before = block.lines.len();
            line(&mut block.lines, vip, name);
            if block.lines.len() > MAX_BYTES || block.names.len() == MAX_NAMES {
                block.lines.truncate(before);
                return (block, false);
            }
            block.names.insert(name.clone(), *vips);
        }
        (block, true)
    }

    /// Whether it tells the same as another.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.lines == other.lines
    }

    /// The lines without some names.
    fn without(&self, own: &BTreeSet<AliasName>) -> String {
        let mut lines = String::with_capacity(self.lines.len());
        for (name, vips) in self.names.iter().filter(|(name, _)| !own.contains(*name)) {
            if let Some(vip) = vips.get(Family::V4) {
                line(&mut lines, vip, name);
            }
        }
        lines
    }
}

/// A blank between, never a tab: Docker takes out lines that end in a tab and the name of a container that has left a
/// network. One name a line: musl reads no more than 512 bytes of one.
fn line(lines: &mut String, vip: IpAddr, name: &AliasName) {
    // Writing to a string does not fail.
    let _ = writeln!(lines, "{vip} {name}");
}

/// What a file is to be from one of its bytes on. All before that one stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    /// The place of that byte.
    pub(super) at: usize,
    /// What is to follow, to the end of the file.
    pub(super) bytes: Vec<u8>,
    /// How many names are told.
    pub(super) names: usize,
    /// How many are not, since the file's own lines define them.
    pub(super) own: usize,
}

impl Edit {
    /// What makes a text tell what a block says; without a block, nothing.
    pub(super) fn of(text: &[u8], block: Option<&Block>) -> Self {
        let (at, kept) = own_lines(text);
        let mut edit = Self { at, bytes: Vec::new(), names: 0, own: 0 };
        let before = text.get(..at).unwrap_or_default();
        let mut lines = None;
        if let Some(block) = block {
            let own = own_names(before, &block.names).chain(own_names(&kept, &block.names)).collect::<BTreeSet<_>>();
            (edit.names, edit.own) = (block.names.len() - own.len(), own.len());
            lines = Some(if own.is_empty() { block.lines.clone() } else { block.without(&own) });
        }
        let lines = lines.filter(|lines| !lines.is_empty());
        let unfinished = before.last().is_some_and(|last| *last != b'\n');
        if unfinished && (lines.is_some() || !kept.is_empty()) {
            edit.bytes.push(b'\n');
        }
        edit.bytes.extend(kept);
        if let Some(lines) = lines {
            if edit.bytes.last().is_some_and(|last| *last != b'\n') {
                edit.bytes.push(b'\n');
            }
            edit.bytes.extend(format!("{BEGIN}\n{lines}{END}\n").into_bytes());
        }
        edit
    }

    /// Whether a text is so already.
    pub(super) fn is_done(&self, text: &[u8]) -> bool {
        text.get(self.at..) == Some(&self.bytes)
    }
}

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Begin,
    End,
    /// As we write names.
    Ours,
    Blank,
    Other,
}

fn kind(line: &[u8]) -> Kind {
    // Where Docker began the file anew just before a write of ours, a hole is before what we wrote.
    let start = line.iter().position(|byte| *byte != 0).unwrap_or(line.len());
    let line = line.get(start..).unwrap_or_default().trim_ascii_end();
    if line == BEGIN.as_bytes() {
        return Kind::Begin;
    }
    if line == END.as_bytes() {
        return Kind::End;
    }
    if line.is_empty() {
        return Kind::Blank;
    }
    let words = std::str::from_utf8(line).ok().and_then(|line| line.split_once(' '));
    let ours = words.is_some_and(|(vip, name)| vip.parse::<IpAddr>().is_ok() && name.parse::<AliasName>().is_ok());
    if ours { Kind::Ours } else { Kind::Other }
}

/// Where our part of a text begins (its end, where there is none), and the lines from there on that are not ours.
fn own_lines(text: &[u8]) -> (usize, Vec<u8>) {
    let mut at = 0;
    let mut rest = text.split_inclusive(|byte| *byte == b'\n').peekable();
    while let Some(line) = rest.next_if(|line| !matches!(kind(line), Kind::Begin | Kind::End)) {
        at += line.len();
    }
    let rest: Vec<(Kind, &[u8])> = rest.map(|line| (kind(line), line)).collect();
    let mut kept = Vec::new();
    let mut next = 0;
    while let Some((what, line)) = rest.get(next) {
        let after = next + 1;
        next = match what {
            Kind::Begin => {
                let inside = inside(rest.get(after..).unwrap_or_default());
                let foreign = |(what, line): &&(Kind, &[u8])| *what == Kind::Other && line.ends_with(b"\n");
                kept.extend(inside.iter().filter(foreign).flat_map(|(_, line)| *line));
                after + inside.len()
            }
            // And the blank lines after it: a shorter block is first filled up with them.
            Kind::End => {
                let blank = rest.iter().skip(after).take_while(|(what, _)| *what == Kind::Blank);
                after + blank.count()
            }
            Kind::Ours | Kind::Blank | Kind::Other => {
                kept.extend(*line);
                after
            }
        };
    }
    (at, kept)
}

/// The lines of a block. One without an end goes as far as what looks like ours, and a line that breaks off.
fn inside<'a, 'b>(rest: &'b [(Kind, &'a [u8])]) -> &'b [(Kind, &'a [u8])] {
    let marker = rest.iter().position(|(what, _)| matches!(what, Kind::Begin | Kind::End));
    let ended = marker.filter(|marker| rest.get(*marker).is_some_and(|(what, _)| *what == Kind::End));
    let end = ended.unwrap_or_else(|| {
        let foreign = rest.iter().position(|(what, line)| *what == Kind::Other && line.last() == Some(&b'\n'));
        foreign.or(marker).map_or(rest.len(), |foreign| foreign.min(marker.unwrap_or(rest.len())))
    });
    rest.get(..end).unwrap_or_default()
}

/// The names of ours that lines of others define.
fn own_names<'a>(lines: &'a [u8], ours: &'a Names) -> impl Iterator<Item = AliasName> + use<'a> {
    let names = lines.split(|byte| *byte == b'\n').flat_map(|line| {
        let entry = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        entry.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).skip(1)
    });
    names.filter_map(|name| {
        let name = std::str::from_utf8(name.strip_suffix(b".").unwrap_or(name)).ok()?;
        let name: AliasName = name.to_ascii_lowercase().parse().ok()?;
        ours.contains_key(&name).then_some(name)
    })
}

#[cfg(test)]
pub(super) mod tests;
