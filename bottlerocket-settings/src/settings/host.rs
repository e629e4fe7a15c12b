//! The sections about the host itself. Source of each: settings-models `settings-extensions/<section>`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Base64, section};
use crate::word::words;

section! {
    /// `settings.aws`.
    Aws {
        /// `region`: set on every AWS host by the host itself.
        region: String = "region",
        /// `config`: an AWS configuration file.
        config: Base64 = "config",
        /// `credentials`: an AWS credentials file.
        credentials: Base64 = "credentials",
        /// `profile`: which profile of those files.
        profile: String = "profile",
    }
}

section! {
    /// `settings.network`.
    Network {
        /// `hostname`: 1 to 253 of `[0-9a-z.-]`.
        hostname: String = "hostname",
        /// `hosts`: further lines of `/etc/hosts`, in order.
        hosts: Vec<(IpAddr, Vec<String>)> = "hosts",
        /// `https-proxy`
        https_proxy: String = "https-proxy",
        /// `no-proxy`
        no_proxy: Vec<String> = "no-proxy",
    }
}

section! {
    /// `settings.dns`: what is given here goes before what DHCP says.
    Dns {
        /// `name-servers`
        name_servers: Vec<IpAddr> = "name-servers",
        /// `search-list`
        search_list: Vec<String> = "search-list",
    }
}

section! {
    /// `settings.updates`.
    Updates {
        /// `metadata-base-url`
        metadata_base_url: String = "metadata-base-url",
        /// `targets-base-url`
        targets_base_url: String = "targets-base-url",
        /// `seed`: this host's place in the waves, 0 to 2047.
        seed: u32 = "seed",
        /// `version-lock`: `latest`, or a semantic version with or without a leading `v`, kept as it was written.
        version_lock: String = "version-lock",
        /// `ignore-waves`
        ignore_waves: bool = "ignore-waves",
    }
}

section! {
    /// `settings.host-containers.<name>`.
    HostContainer {
        /// `source`: the image.
        source: String = "source",
        /// `enabled`
        enabled: bool = "enabled",
        /// `superpowered`
        superpowered: bool = "superpowered",
        /// `user-data`
        user_data: Base64 = "user-data",
        /// `command`: from core-kit 10.4.0 on; older hosts refuse a change that has it.
        command: Vec<String> = "command",
    }
}

section! {
    /// `settings.kernel`.
    Kernel {
        /// `lockdown`
        lockdown: Lockdown = "lockdown",
        /// `modules`, by name.
        modules: BTreeMap<String, KernelModule> = "modules",
        /// `sysctl`, by dotted or slashed name.
        sysctl: BTreeMap<String, String> = "sysctl",
    }
}

section! {
    /// `settings.kernel.modules.<name>`.
    KernelModule {
        /// `allowed`: whether it may be loaded.
        allowed: bool = "allowed",
        /// `autoload`: whether it is loaded at boot.
        autoload: bool = "autoload",
    }
}

words! {
    /// `settings.kernel.lockdown`. Source: settings-models `modeled-types`, `Lockdown`.
    Lockdown {
        /// `none`
        None = "none",
        /// `integrity`: the default of the ECS variants.
        Integrity = "integrity",
        /// `confidentiality`
        Confidentiality = "confidentiality",
    }
}

section! {
    /// `settings.metrics`.
    Metrics {
        /// `metrics-url`
        metrics_url: String = "metrics-url",
        /// `send-metrics`
        send_metrics: bool = "send-metrics",
        /// `service-checks`: systemd units whose state is reported.
        service_checks: Vec<String> = "service-checks",
    }
}
