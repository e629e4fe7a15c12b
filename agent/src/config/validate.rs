//! A text to [`Settings`]: what each table means, its defaults, and what must hold between tables.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::errors::{Errors, Faults, MAX_BYTES};
use super::etcd::EtcdSettings;
use super::glob::Glob;
use super::reader::{TomlTable, boolean, parsed, shown, text, whole, word};
use super::settings::{
    BackendKind, DnsSettings, Locality, MeshSettings, NodeSettings, Paths, RegistryKind, Settings, TelemetrySettings,
};
use super::values::Auto;
use super::{services, update, values};
use crate::model::{Namespace, VipRanges};

/// The version of the language that this program reads.
const VERSION: u32 = 1;
const DEFAULT_METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);
const DEFAULT_ECS_INTROSPECTION: &str = "http://127.0.0.1:51678";
const DEFAULT_IMDS: &str = "http://169.254.169.254";
const MAX_IMPORTS: usize = 64;
const MAX_ALIAS_ALLOW: usize = 64;
const MAX_UPSTREAMS: usize = 8;
const MAX_ETCD_ENDPOINTS: usize = 16;

/// Validates a text.
pub(super) fn settings(path: &Path, text: &str) -> Result<Settings, Errors> {
    if text.len() > MAX_BYTES {
        return Err(Errors::too_large(path));
    }
    // A byte order mark is no character of the first line.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut faults = Faults::default();
    let (document, broken) = DeTable::parse_recoverable(text);
    for problem in broken {
        let place = problem.span().unwrap_or_default();
        let written = text.get(place.clone()).unwrap_or_default();
        match problem.message() {
            "duplicate key" => {
                faults.wrong(place.start, format!("`{}` is given a second time; keep one", shown(written)));
            }
            message => faults.syntax(place.start, not_toml(message)),
        }
    }
    let settings = TomlTable::root(document.get_ref(), &mut faults, root);
    match settings {
        Some(settings) if faults.is_empty() => Ok(settings),
        _ => Err(faults.into_errors(path, text)),
    }
}

/// What the parser says, with what would be right.
fn not_toml(message: &str) -> String {
    let (problem, advice) = match message.split_once(", expected ") {
        _ if message.starts_with("string values must be quoted") => ("text without quotes", "put it in double quotes"),
        Some((problem, "nothing")) => (problem, "remove it"),
        Some((problem, expected)) => return format!("not TOML: {problem}; expected {expected}"),
        None => (message, "write it as TOML 1.0 says, https://toml.io"),
    };
    format!("not TOML: {problem}; {advice}")
}

fn root(table: &mut TomlTable<'_, '_>) -> Option<Settings> {
    table.require("version", "begin the file with version = 1");
    table.get("version", version);
    let mesh = table.table("mesh", "[mesh]", mesh);
    let (registry, etcd) = table.table("registry", "[registry]", registry);
    let node = table.table("node", "[node]", |table| node(table, mesh.vip_ranges));
    let dns = table.table("dns", "[dns]", |table| dns(table, mesh.vip_ranges));
    let services = services::read(table, &mesh.namespace);
    let update = table.table("update", "[update]", |table| update::read(table, etcd.as_ref()));
    let telemetry = table.table("telemetry", "[telemetry]", telemetry);
    let paths = table.table("paths", "[paths]", paths)?;
    Some(Settings { node, mesh, registry, etcd, dns, services, update, telemetry, paths })
}

fn version(value: &DeValue<'_>) -> Result<u32, String> {
    match whole(0..=u32::MAX)(value)? {
        VERSION => Ok(VERSION),
        other => Err(format!("this meshdog does not know version {other}; write version = {VERSION}")),
    }
}

fn mesh(table: &mut TomlTable<'_, '_>) -> MeshSettings {
    const LOCALITIES: [(&str, Locality); 2] = [("prefer-zone", Locality::PreferZone), ("none", Locality::None)];
    let namespace = table.get("namespace", parsed::<Namespace>);
    let import = table.list("import", 0..=MAX_IMPORTS, parsed::<Namespace>).unwrap_or_default();
    for import in import.iter().filter(|import| Some(import.get_ref()) == namespace.as_ref()) {
        table.fault_at(import, "import", "is this node's own namespace, which needs no import; remove it");
    }
    MeshSettings {
        namespace: namespace.unwrap_or_default(),
        import: import.into_iter().map(Spanned::into_inner).collect(),
        vip_ranges: vip_ranges(table),
        backend: table.get("backend", backend).unwrap_or(BackendKind::Auto),
        locality: table.get("locality", word(&LOCALITIES)).unwrap_or(Locality::PreferZone),
        image_labels: table.get("image_labels", boolean).unwrap_or(false),
        alias_allow: alias_allow(table),
    }
}

fn alias_allow(table: &mut TomlTable<'_, '_>) -> Vec<Glob> {
    let allow = table.list("alias_allow", 0..=MAX_ALIAS_ALLOW, services::glob).unwrap_or_default();
    for glob in allow.iter().filter(|glob| glob.get_ref().matches_anything()) {
        let problem = "would let every label claim every name; write the domains that tasks may claim names of";
        table.fault_at(glob, "alias_allow", problem);
    }
    allow.into_iter().map(Spanned::into_inner).collect()
}

fn vip_ranges(table: &mut TomlTable<'_, '_>) -> VipRanges {
    let v4 = table.get("vip_cidr", values::vip_cidr).unwrap_or_default();
    let v6 = table.get("vip_cidr6", values::vip_cidr6).unwrap_or(VipRanges::DEFAULT_V6);
    VipRanges::new(v4, Some(v6)).unwrap_or_default()
}

fn backend(value: &DeValue<'_>) -> Result<BackendKind, String> {
    match text(value)? {
        "auto" => Ok(BackendKind::Auto),
        "nftables" => Ok(BackendKind::Nftables),
        "iptables" => Err("\"iptables\" is not part of this version; write \"auto\" or \"nftables\"".to_owned()),
        other => Err(format!("\"{}\" is unknown; write \"auto\" or \"nftables\"", shown(other))),
    }
}

fn registry(table: &mut TomlTable<'_, '_>) -> (RegistryKind, Option<EtcdSettings>) {
    let kind = table.get("kind", registry_kind).unwrap_or(RegistryKind::Local);
    let present = table.has("etcd");
    let endpoints = table.table("etcd", "[registry.etcd]", |table| {
        if present {
            table.require("endpoints", "write the members' addresses, such as endpoints = [\"http://10.0.0.7:2379\"]");
        }
        table.list("endpoints", 1..=MAX_ETCD_ENDPOINTS, values::http_url)
    });
    let endpoints = endpoints.map(|endpoints| endpoints.into_iter().map(Spanned::into_inner).collect());
    (kind, endpoints.map(|endpoints| EtcdSettings { endpoints }))
}

fn registry_kind(value: &DeValue<'_>) -> Result<RegistryKind, String> {
    match text(value)? {
        "local" => Ok(RegistryKind::Local),
        later @ ("etcd" | "cloud-map") => Err(format!("{later:?} is not part of this version; write \"local\"")),
        other => Err(format!("\"{}\" is unknown; write \"local\"", shown(other))),
    }
}

fn node(table: &mut TomlTable<'_, '_>, vips: VipRanges) -> NodeSettings {
    let advertise = table.get("advertise", values::auto(values::host_address)).unwrap_or(Auto::Auto);
    if let Auto::Set(address) = advertise
        && let Some(range) = vips.range_of(address)
    {
        table.fault("advertise", format!("{address} lies within the VIP range {range}; write the node's own address"));
    }
    NodeSettings { advertise, zone: table.get("zone", values::auto(values::zone)).unwrap_or(Auto::Auto) }
}

fn dns(table: &mut TomlTable<'_, '_>, vips: VipRanges) -> DnsSettings {
    let host = table.get("host", boolean).unwrap_or(false);
    DnsSettings {
        hosts: table.get("hosts", boolean).unwrap_or(true),
        capture: table.get("capture", boolean).unwrap_or(true),
        host,
        authoritative: table.get("authoritative", boolean).unwrap_or(false),
        upstream: upstream(table, vips, host),
    }
}

fn upstream(table: &mut TomlTable<'_, '_>, vips: VipRanges, host: bool) -> Auto<Vec<SocketAddr>> {
    if let Some(word) = table.if_text("upstream") {
        if word != "auto" {
            let word = shown(word);
            table.fault("upstream", format!("\"{word}\" is unknown; write \"auto\" or a list such as [\"10.0.0.2\"]"));
        }
        return Auto::Auto;
    }
    let Some(servers) = table.list("upstream", 1..=MAX_UPSTREAMS, values::name_server) else { return Auto::Auto };
    for server in &servers {
        if let Some(range) = vips.range_of(server.get_ref().ip()) {
            let problem =
                format!("{} lies within the VIP range {range}; write a resolver outside it", server.get_ref());
            table.fault_at(server, "upstream", problem);
        }
        // A resolver of this host asks as the host does, and would be answered by itself.
        if host && server.get_ref().ip().is_loopback() {
            let problem = format!(
                "{} is of this host, whose queries come back to it with dns.host; write one of another host",
                server.get_ref()
            );
            table.fault_at(server, "upstream", problem);
        }
    }
    Auto::Set(servers.into_iter().map(Spanned::into_inner).collect())
}

fn telemetry(table: &mut TomlTable<'_, '_>) -> TelemetrySettings {
    TelemetrySettings {
        metrics: table.get("metrics", values::loopback_listener).unwrap_or(Some(DEFAULT_METRICS)),
        log: table.get("log", values::log_filter).unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO)),
    }
}

fn paths(table: &mut TomlTable<'_, '_>) -> Option<Paths> {
    let ecs_introspection = table.get("ecs_introspection", values::http_url);
    let imds = table.get("imds", values::http_url);
    let mut socket = |key, default: &str| table.get(key, values::socket_path).unwrap_or_else(|| default.into());
    let api_socket = socket("api_socket", "/.bottlerocket/rootfs/run/api.sock");
    let docker_socket = socket("docker_socket", "/.bottlerocket/rootfs/run/docker.sock");
    let admin_socket = socket("admin_socket", "/run/meshdog/admin.sock");
    let docker_root = table.get("docker_root", values::auto(values::path)).unwrap_or(Auto::Auto);
    let mut path = |key, default: &str| table.get(key, values::path).unwrap_or_else(|| default.into());
    Some(Paths {
        api_socket,
        docker_socket,
        docker_root,
        state_dir: path("state_dir", "/.bottlerocket/host-containers/current/state"),
        admin_socket,
        ecs_introspection: ecs_introspection.or_else(|| DEFAULT_ECS_INTROSPECTION.parse().ok())?,
        signpost: path("signpost", "/usr/bin/signpost"),
        imds: imds.or_else(|| DEFAULT_IMDS.parse().ok())?,
        boot_id: path("boot_id", "/proc/sys/kernel/random/boot_id"),
    })
}

#[cfg(test)]
mod tests;
