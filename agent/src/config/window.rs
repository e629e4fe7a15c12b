//! Maintenance windows: `Sat 02:00-05:00 Europe/Berlin`. Pure.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};

const DAY: u16 = 24 * 60;
/// Days in which every window opens: a week, twice as much where clocks skip the whole of one, and room for the ends.
const OPENS_WITHIN: i64 = 16;
const DAYS: [(&str, Weekday); 7] = [
    ("Mon", Weekday::Monday),
    ("Tue", Weekday::Tuesday),
    ("Wed", Weekday::Wednesday),
    ("Thu", Weekday::Thursday),
    ("Fri", Weekday::Friday),
    ("Sat", Weekday::Saturday),
    ("Sun", Weekday::Sunday),
];

/// Why a text is not a window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Not three words.
    #[error("{0:?} is not a window; write DAY FROM-TO ZONE, such as \"Sat 02:00-05:00 Europe/Berlin\"")]
    Shape(String),
    /// Not a day of the week.
    #[error("{0:?} is not a day; write Mon, Tue, Wed, Thu, Fri, Sat or Sun")]
    Day(String),
    /// Not a span of the day.
    #[error("{0:?} is not a span of time; write HH:MM-HH:MM, such as 02:00-05:00 or 22:00-02:00")]
    Span(String),
    /// A span that ends where it begins.
    #[error("{0:?} is empty; write 00:00-24:00 for a whole day")]
    Empty(String),
    /// Not a time zone.
    #[error("{0:?} is not a time zone; write an IANA name such as Europe/Berlin, or UTC")]
    Zone(String),
}

/// A span of one day of every week, by the clocks of one place. It may reach past midnight into the next day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    day: Weekday,
    /// First minute of the day.
    from: u16,
    /// The minute after the last; from [`DAY`] on it is one of the next day.
    to: u16,
    zone: TimeZone,
}

impl Window {
    /// Whether the window is open at this instant. An hour that clocks go through twice in autumn counts twice, one
    /// that they skip in spring not at all.
    #[must_use]
    pub fn contains(&self, now: Timestamp) -> bool {
        let local = self.zone.to_datetime(now);
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let today = local.weekday() == self.day && (self.from..self.to).contains(&minute);
        let since_yesterday = local.weekday() == self.day.next() && minute + DAY < self.to;
        today || since_yesterday
    }

    /// When the window opens next: now, if it is open. `None` where time itself ends before (the year 9999).
    #[must_use]
    pub fn next_open(&self, now: Timestamp) -> Option<Timestamp> {
        if self.contains(now) {
            return Some(now);
        }
        // It opens when clocks show its first minute, or when they jump into it.
        let first = self.zone.to_datetime(now).date();
        let by_the_clock = (-1..OPENS_WITHIN)
            .filter_map(|days| first.checked_add(days.days()).ok())
            .filter(|date| date.weekday() == self.day)
            .flat_map(|date| self.begins(date));
        let last = now.checked_add((24 * OPENS_WITHIN).hours()).unwrap_or(Timestamp::MAX);
        let jumps = self.zone.following(now).map(|jump| jump.timestamp()).take_while(|jump| *jump <= last);
        by_the_clock.chain(jumps).filter(|instant| *instant > now && self.contains(*instant)).min()
    }

    /// The instants at which clocks show the window's first minute on this day: one, two where they go through it
    /// twice, none where they skip it.
    fn begins(&self, date: Date) -> impl Iterator<Item = Timestamp> + use<> {
        let [hour, minute] = [self.from / 60, self.from % 60].map(|part| i8::try_from(part).unwrap_or(i8::MAX));
        let begin = date.at(hour, minute, 0, 0);
        let offsets = match self.zone.to_ambiguous_timestamp(begin).offset() {
            AmbiguousOffset::Unambiguous { offset } => [Some(offset), None],
            AmbiguousOffset::Fold { before, after } => [Some(before), Some(after)],
            AmbiguousOffset::Gap { .. } => [None, None],
        };
        offsets.into_iter().flatten().filter_map(move |offset| offset.to_timestamp(begin).ok())
    }
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let mut words = text.split_ascii_whitespace();
        let (Some(day), Some(span), Some(zone), None) = (words.next(), words.next(), words.next(), words.next()) else {
            return Err(WindowError::Shape(text.to_owned()));
        };
        let weekday = DAYS.iter().find(|(name, _)| *name == day).map(|&(_, weekday)| weekday);
        let weekday = weekday.ok_or_else(|| WindowError::Day(day.to_owned()))?;
        let bounds = span.split_once('-').and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
        let (from, to) = bounds.filter(|&(from, _)| from < DAY).ok_or_else(|| WindowError::Span(span.to_owned()))?;
        if from == to {
            return Err(WindowError::Empty(span.to_owned()));
        }
        let zone = TimeZone::get(zone).map_err(|_| WindowError::Zone(zone.to_owned()))?;
        Ok(Self { day: weekday, from, to: if to > from { to } else { to + DAY }, zone })
    }
}

/// Reads `HH:MM` from `00:00` to `24:00` as minutes since midnight.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |digits: &str| {
        let two = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
        two.then(|| digits.parse::<u16>().ok()).flatten()
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    (minute < 60).then_some(hour * 60 + minute).filter(|&minutes| minutes <= DAY)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = DAYS.iter().find(|(_, weekday)| *weekday == self.day).map_or("", |(name, _)| name);
        let to = if self.to > DAY { self.to - DAY } else { self.to };
        let zone = self.zone.iana_name().unwrap_or("UTC");
        write!(f, "{day} {:02}:{:02}-{:02}:{:02} {zone}", self.from / 60, self.from % 60, to / 60, to % 60)
    }
}

#[cfg(test)]
mod tests;
