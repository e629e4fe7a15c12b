//! What an aws-ecs-2 host of version 1.20.5 takes as settings. Pure.
//!
//! Sources: settings-models `settings-extensions/*` and `modeled-types`; core-kit
//! `sources/settings-plugins/aws-ecs-2/src/lib.rs`. Only the reading counts: it says in the host's own words what is
//! wrong with a change (unknown fields above all), so the types carry the names that those words show.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Why a change is refused.
#[derive(Debug)]
pub enum Refusal {
    /// 400: it does not fit the model.
    Shape(String),
    /// 500: it fits, but cannot be stored.
    Key(String),
}

/// Reads a change (the body of `PATCH /settings`): the tree without nulls and empty tables, or the host's words.
pub fn read(body: &[u8]) -> Result<Value, Refusal> {
    let shape = |error: serde_json::Error| Refusal::Shape(format!("Json deserialize error: {error}"));
    serde_json::from_slice::<Settings>(body).map_err(shape)?;
    let tree = prune(serde_json::from_slice(body).map_err(shape)?).unwrap_or_else(|| Value::Object(Default::default()));
    if has_empty_name(&tree) {
        return Err(Refusal::Key(
            "Error serializing Settings: Error creating valid datastore key: serialized map key '' not valid as Key: \
             Key name '' has invalid format: cannot be empty "
                .to_owned(),
        ));
    }
    Ok(tree)
}

fn has_empty_name(tree: &Value) -> bool {
    tree.as_object().is_some_and(|fields| fields.iter().any(|(name, value)| name.is_empty() || has_empty_name(value)))
}

fn prune(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(fields) => {
            let kept: serde_json::Map<String, Value> =
                fields.into_iter().filter_map(|(name, value)| prune(value).map(|value| (name, value))).collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        value => Some(value),
    }
}

macro_rules! model {
    ($($name:ident { $($field:ident: $type:ty,)+ })+) => {$(
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        #[expect(dead_code, reason = "only that it can be read counts")]
        struct $name {
            $($field: Option<$type>,)+
        }
    )+};
}

type Table<T> = BTreeMap<String, T>;

model! {
    Settings {
        motd: String,
        updates: UpdatesSettingsV1,
        host_containers: BTreeMap<Identifier, HostContainer>,
        bootstrap_containers: BTreeMap<Identifier, BootstrapContainer>,
        ntp: NtpSettingsV1,
        network: NetworkSettingsV1,
        kernel: KernelSettingsV1,
        boot: BootSettingsV1,
        aws: AwsSettingsV1,
        ecs: ECSSettingsV1,
        metrics: MetricsSettingsV1,
        pki: BTreeMap<Identifier, PemCertificate>,
        container_registry: RegistrySettingsV1,
        oci_defaults: OciDefaultsV1,
        oci_hooks: OciHooksSettingsV1,
        cloudformation: CloudFormationSettingsV1,
        autoscaling: AutoScalingSettingsV1,
        dns: DnsSettingsV1,
    }
    UpdatesSettingsV1 {
        metadata_base_url: Url,
        targets_base_url: Url,
        seed: u32,
        version_lock: FriendlyVersion,
        ignore_waves: bool,
    }
    HostContainer {
        source: Url,
        enabled: bool,
        superpowered: bool,
        user_data: ValidBase64,
    }
    BootstrapContainer {
        source: Url,
        mode: String,
        user_data: ValidBase64,
        essential: bool,
    }
    NtpSettingsV1 {
        time_servers: Vec<String>,
        options: Vec<String>,
    }
    NetworkSettingsV1 {
        hostname: ValidLinuxHostname,
        hosts: Vec<(IpAddr, Vec<String>)>,
        https_proxy: Url,
        no_proxy: Vec<String>,
    }
    KernelSettingsV1 {
        lockdown: Lockdown,
        modules: Table<KmodSetting>,
        sysctl: Table<String>,
    }
    KmodSetting {
        allowed: bool,
        autoload: bool,
    }
    BootSettingsV1 {
        reboot_to_reconcile: bool,
        kernel: Table<Vec<String>>,
        init: Table<Vec<String>>,
    }
    AwsSettingsV1 {
        region: String,
        config: ValidBase64,
        credentials: ValidBase64,
        profile: String,
    }
    ECSSettingsV1 {
        cluster: String,
        instance_attributes: Table<String>,
        allow_privileged_containers: bool,
        logging_drivers: Vec<String>,
        loglevel: String,
        enable_spot_instance_draining: bool,
        image_pull_behavior: String,
        container_stop_timeout: String,
        task_cleanup_wait: String,
        metadata_service_rps: i64,
        metadata_service_burst: i64,
        reserved_memory: u16,
        image_cleanup_wait: String,
        image_cleanup_delete_per_cycle: i64,
        image_cleanup_enabled: bool,
        image_cleanup_age: String,
        backend_host: String,
        awsvpc_block_imds: bool,
        enable_container_metadata: bool,
    }
    MetricsSettingsV1 {
        metrics_url: Url,
        send_metrics: bool,
        service_checks: Vec<String>,
    }
    PemCertificate {
        data: ValidBase64,
        trusted: bool,
    }
    RegistrySettingsV1 {
        mirrors: Vec<Value>,
        credentials: Vec<Value>,
    }
    OciDefaultsV1 {
        capabilities: Table<bool>,
        resource_limits: Table<OciDefaultsResourceLimit>,
    }
    OciDefaultsResourceLimit {
        hard_limit: i64,
        soft_limit: i64,
    }
    OciHooksSettingsV1 {
        log4j_hotpatch_enabled: bool,
    }
    CloudFormationSettingsV1 {
        should_signal: bool,
        stack_name: String,
        logical_resource_id: String,
    }
    AutoScalingSettingsV1 {
        should_wait: bool,
    }
    DnsSettingsV1 {
        name_servers: Vec<IpAddr>,
        search_list: Vec<String>,
    }
}

/// Declares a string that must satisfy a check, and the host's words where it does not.
macro_rules! checked {
    ($($name:ident($text:ident) $check:expr;)+) => {$(
        #[derive(PartialEq, Eq, PartialOrd, Ord)]
        struct $name;

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let $text = String::deserialize(deserializer)?;
                let checked: Result<(), String> = $check;
                let name = stringify!($name);
                checked.map_err(|why| D::Error::custom(format!("Unable to deserialize into {name}: {why}")))?;
                Ok(Self)
            }
        }
    )+};
}

checked! {
    ValidBase64(text) STANDARD.decode(&text).map(drop).map_err(|error| format!("Invalid base64 input: {error}"));
    FriendlyVersion(text) {
        let version = text.strip_prefix('v').unwrap_or(&text);
        let known = text == "latest" || semver::Version::parse(version).is_ok();
        if known { Ok(()) } else { Err(format!("Invalid version string '{text}'")) }
    };
    Url(text) {
        let usable = !text.is_empty() && !text.contains(' ');
        if usable { Ok(()) } else { Err(format!("Given invalid URL '{text}'")) }
    };
    ValidLinuxHostname(text) {
        let fits = (1..=253).contains(&text.len());
        let clean = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-'));
        let why = || format!("Invalid hostname '{text}': must only be [0-9a-z.-], and 1-253 chars long");
        if fits && clean { Ok(()) } else { Err(why()) }
    };
    Lockdown(text) match text.as_str() {
        "none" | "integrity" | "confidentiality" => Ok(()),
        _ => Err(format!("Invalid Linux lockdown mode '{text}'")),
    };
    Identifier(text) {
        let clean = text.len() <= 76 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let why = || format!("Identifiers may only contain ASCII alphanumerics plus hyphens, received '{text}'");
        if clean { Ok(()) } else { Err(why()) }
    };
}
