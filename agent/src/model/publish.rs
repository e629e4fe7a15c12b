//! News only: what a channel of snapshots is sent.
//!
//! A receiver is woken by every value that is sent, so whoever publishes sends none that stands there already.

use tokio::sync::watch;

/// Publishes a value, unless the one that stands there is the same. True where it was news.
pub fn publish<T>(sender: &watch::Sender<T>, value: T, same: impl FnOnce(&T, &T) -> bool) -> bool {
    sender.send_if_modified(|standing| {
        let news = !same(standing, &value);
        if news {
            *standing = value;
        }
        news
    })
}

/// Changes the value that stands there. True where that made a difference.
pub fn change<T: Clone + PartialEq>(sender: &watch::Sender<T>, change: impl FnOnce(&mut T)) -> bool {
    sender.send_if_modified(|standing| {
        let before = standing.clone();
        change(standing);
        *standing != before
    })
}

/// A comparison for values that may be absent, for [`publish`]: nothing is the same as nothing.
pub fn if_given<T>(same: impl Fn(&T, &T) -> bool) -> impl Fn(&Option<T>, &Option<T>) -> bool {
    move |one, other| match (one, other) {
        (Some(one), Some(other)) => same(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

#[cfg(test)]
mod tests;
