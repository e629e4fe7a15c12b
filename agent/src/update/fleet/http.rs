//! HTTP as the fleet's servers are asked with it: bounded in time and size, straight to the address that is written.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Response, redirect};
use url::Url;

use super::FleetError;

/// For a whole request. A member of an etcd cluster that has lost the others needs about 7 s to say so.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The most characters that are shown of somebody else's words.
const MAX_TEXT: usize = 300;

/// A client for servers of the fleet.
pub(super) fn client() -> Result<reqwest::Client, FleetError> {
    reqwest::Client::builder()
        .timeout(TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        // Asked now and then: by then a connection that was kept may be found dead.
        .pool_max_idle_per_host(0)
        // Whoever is named in the settings is asked, and nobody that it points to.
        .redirect(redirect::Policy::none())
        // These servers stand among the nodes. A proxy is for what stands outside, and its own error pages would be
        // taken for the server's answers.
        .no_proxy()
        .build()
        .map_err(FleetError::Client)
}

/// The address of `path` below `base`, which may have a path of its own.
pub(super) fn below(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    // An http address always has a path.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

/// The body of an answer; `None` if it has more bytes than this.
pub(super) async fn body(mut response: Response, most: usize) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > most {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// Somebody else's words on one line, bounded.
pub(super) fn one_line(words: &str) -> Arc<str> {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut line: String = words.trim().chars().take(MAX_TEXT).map(clean).collect();
    if words.trim().chars().nth(MAX_TEXT).is_some() {
        line.push('…');
    }
    line.into()
}

#[cfg(test)]
mod tests;
