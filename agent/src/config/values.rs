//! Conversions of single values whose types are not ours: durations, addresses, URLs, paths, filters.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use toml::de::DeValue;
use tracing_subscriber::filter::{LevelFilter, Targets};
use url::Url;

use super::reader::{parsed, text};
use crate::model::{DNS_PORT, VipCidr};

/// A setting that is either given or found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auto<T> {
    /// Found out from the host.
    Auto,
    /// Given.
    Set(T),
}

/// Longest path of a Unix socket, in bytes (`sun_path` less its final zero, linux/un.h).
const MAX_SOCKET_PATH: usize = 107;
const MAX_ZONE: usize = 64;

/// A span of time such as `24h`, `5m`, `1h30m` or `90s`, within a range.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&DeValue<'_>) -> Result<Duration, String> {
    move |value| {
        let written = text(value)?;
        // Of the friendly format of jiff only what nobody can misread: no signs, blanks, words or clock times.
        let plain = written.bytes().all(|b| b.is_ascii_digit() || b"hms".contains(&b));
        let span = written.parse::<SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
        let span = span
            .filter(|_| plain)
            .ok_or_else(|| format!("{written:?} is not a duration; write for instance 24h, 5m, 1h30m or 90s"))?;
        if !range.contains(&span) {
            let (from, to) = (friendly(*range.start()), friendly(*range.end()));
            return Err(format!("{written} is out of range; write {from} to {to}"));
        }
        Ok(span)
    }
}

fn friendly(span: Duration) -> String {
    match span.as_secs() {
        seconds if seconds > 0 && seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        seconds => format!("{seconds}s"),
    }
}

/// `"auto"`, or what `convert` makes of the value.
pub(super) fn auto<T>(
    convert: impl Fn(&DeValue<'_>) -> Result<T, String>,
) -> impl Fn(&DeValue<'_>) -> Result<Auto<T>, String> {
    move |value| match value.as_str() {
        Some("auto") => Ok(Auto::Auto),
        _ => convert(value).map(Auto::Set),
    }
}

/// An IPv4 address that one host can have.
pub(super) fn host_address(value: &DeValue<'_>) -> Result<IpAddr, String> {
    let written = text(value)?;
    let address: Option<Ipv4Addr> = written.parse().ok();
    address
        .filter(|a| a.octets()[0] != 0 && !a.is_multicast() && !a.is_broadcast())
        .map(IpAddr::V4)
        .ok_or_else(|| format!("{written:?} is not this node's IPv4 address; write one such as 10.0.1.5, or \"auto\""))
}

/// An availability zone's name; empty: there is none.
pub(super) fn zone(value: &DeValue<'_>) -> Result<Option<Arc<str>>, String> {
    let zone = text(value)?;
    if zone.len() > MAX_ZONE || !zone.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!(
            "{zone:?} is not a zone; write at most {MAX_ZONE} visible ASCII characters, \"auto\", or \"\" for none"
        ));
    }
    Ok((!zone.is_empty()).then(|| zone.into()))
}

/// The range that IPv4 VIPs are taken from.
pub(super) fn vip_cidr(value: &DeValue<'_>) -> Result<VipCidr, String> {
    VipCidr::parse_v4(text(value)?).map_err(|error| error.to_string())
}

/// The range that IPv6 VIPs are taken from.
pub(super) fn vip_cidr6(value: &DeValue<'_>) -> Result<VipCidr, String> {
    VipCidr::parse_v6(text(value)?).map_err(|error| error.to_string())
}

/// A name server: an address, with a port where it is not 53.
pub(super) fn name_server(value: &DeValue<'_>) -> Result<SocketAddr, String> {
    let written = text(value)?;
    let address = written.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT)).or_else(|_| written.parse());
    address
        .ok()
        .filter(|a: &SocketAddr| a.port() != 0 && !a.ip().is_unspecified() && !a.ip().is_multicast())
        .ok_or_else(|| format!("{written:?} is not a name server; write ADDRESS or ADDRESS:PORT, such as 10.0.0.2"))
}

/// Where to listen for metrics: loopback only, so that no stranger can reach it; empty: nowhere.
pub(super) fn loopback_listener(value: &DeValue<'_>) -> Result<Option<SocketAddr>, String> {
    let written = text(value)?;
    if written.is_empty() {
        return Ok(None);
    }
    let address: SocketAddr = written
        .parse()
        .map_err(|_| format!("{written:?} is not a listener; write ADDRESS:PORT, such as 127.0.0.1:9464, or \"\""))?;
    if !address.ip().is_loopback() {
        return Err(format!(
            "{address} is not a loopback address and strangers could reach it; write 127.0.0.1:{}",
            if address.port() == 0 { 9464 } else { address.port() }
        ));
    }
    if address.port() == 0 {
        return Err(format!("{address} has no port; write one from 1 to 65535, such as 127.0.0.1:9464"));
    }
    Ok(Some(address))
}

/// Levels and `MODULE=LEVEL`, separated by commas.
pub(super) fn log_filter(value: &DeValue<'_>) -> Result<Targets, String> {
    let written = text(value)?;
    let parts: Vec<&str> = written.split(',').map(str::trim).collect();
    // A lone word that is no level would be taken for a module whose every trace is wanted, and all others off.
    let level =
        |part: &str| part.rsplit_once('=').map_or(part, |(_, level)| level).trim().parse::<LevelFilter>().is_ok();
    let filter = parts.iter().all(|part| !part.is_empty() && level(part)).then(|| parts.join(",").parse().ok());
    filter.flatten().ok_or_else(|| {
        format!(
            "{written:?} is not a log filter; write off, error, warn, info, debug or trace, and MODULE=LEVEL after a \
             comma"
        )
    })
}

/// An address that takes TCP connections.
pub(super) fn tcp_address(value: &DeValue<'_>) -> Result<SocketAddr, String> {
    let written = text(value)?;
    let address: Option<SocketAddr> = written.parse().ok();
    address
        .filter(|a| a.port() != 0 && !a.ip().is_unspecified() && !a.ip().is_multicast())
        .ok_or_else(|| format!("{written:?} takes no connection; write ADDRESS:PORT, such as 127.0.0.1:5432"))
}

/// An `http://` address. What meshdog asks stands on the node or among the nodes; its HTTP client knows no TLS.
pub(super) fn http_url(value: &DeValue<'_>) -> Result<Url, String> {
    let written = text(value)?;
    let advice = "write http://HOST:PORT, such as http://127.0.0.1:8080";
    let url: Url = written.parse().map_err(|problem| format!("{written:?} is not a URL ({problem}); {advice}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("carries a user name or password, which logs would show; write it without".to_owned());
    }
    match url.scheme() {
        "http" => Ok(url),
        "https" => Err(format!("{written:?} needs TLS, which meshdog does not speak; {advice}")),
        _ => Err(format!("{written:?} is not an HTTP address; {advice}")),
    }
}

/// An absolute path.
pub(super) fn path(value: &DeValue<'_>) -> Result<PathBuf, String> {
    let path: PathBuf = parsed(value)?;
    if !path.is_absolute() || path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(format!("{path:?} is not an absolute path; begin with '/'"));
    }
    Ok(path)
}

/// An absolute path that the kernel takes for a Unix socket.
pub(super) fn socket_path(value: &DeValue<'_>) -> Result<PathBuf, String> {
    let path = path(value)?;
    let length = Path::as_os_str(&path).len();
    if length > MAX_SOCKET_PATH {
        return Err(format!("has {length} bytes; a Unix socket's path takes at most {MAX_SOCKET_PATH}"));
    }
    Ok(path)
}
