//! Text for terminals: nothing that a stranger wrote moves the cursor, and no line is longer than a hundred columns.

use std::fmt::Write;
use std::net::IpAddr;

use jiff::Timestamp;

/// Columns that a line may take.
pub(super) const WIDTH: usize = 100;

/// One line, at most [`WIDTH`] characters, control characters (which could move a terminal's cursor) replaced.
pub(super) fn line(out: &mut String, text: &str) {
    let text = text.trim_end();
    let fits = text.chars().nth(WIDTH).is_none();
    let shown = text.chars().take(if fits { WIDTH } else { WIDTH - 1 });
    out.extend(shown.map(printable));
    out.push_str(if fits { "\n" } else { "…\n" });
}

/// Text in as many lines as it needs, the first after `lead`, all others under where the first began.
pub(super) fn paragraph(out: &mut String, lead: &str, text: &str) {
    let indent = lead.chars().count();
    let mut current = lead.to_owned();
    for word in text.split_whitespace() {
        let used = current.chars().count();
        if used > indent && used + 1 + word.chars().count() > WIDTH {
            line(out, &current);
            current = " ".repeat(indent);
        } else if used > indent {
            current.push(' ');
        }
        current.push_str(word);
    }
    line(out, &current);
}

/// Rows under each other, every column but the last as wide as its widest cell.
pub(super) fn table<const N: usize>(out: &mut String, indent: usize, rows: &[[String; N]]) {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in rows {
        let mut text = " ".repeat(indent);
        for (cell, width) in row.iter().zip(widths) {
            // A String takes any writing.
            let _ = write!(text, "{cell:width$}  ");
        }
        line(out, &text);
    }
}

/// How long ago, in the largest unit that fits: `12s`, `5m`, `3h`, `8d`.
pub(super) fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(since.as_second()).max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A share of 0 to 1 in whole per cent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A VIP, or what stands for one where there is none.
pub(super) fn vip(vip: Option<IpAddr>) -> String {
    vip.map_or_else(|| "no VIP".to_owned(), |vip| vip.to_string())
}

fn printable(c: char) -> char {
    // Beside control characters, those that turn the direction of what follows.
    let turns = matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || turns { '\u{fffd}' } else { c }
}

#[cfg(test)]
mod tests;
