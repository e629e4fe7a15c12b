//! The settings that an aws-ecs-2 host of version 1.20.5 has when nobody has changed any.
//!
//! Source: bottlerocket-os/bottlerocket `sources/shared-defaults` and `sources/settings-defaults`.

use serde_json::{Map, Value, json};

use super::imds::Instance;

/// The tree, without a wrapper.
#[must_use]
pub fn settings(instance: &Instance) -> Map<String, Value> {
    let images = "328549459982.dkr.ecr.us-west-2.amazonaws.com";
    let capabilities = [
        "audit-write",
        "chown",
        "dac-override",
        "fowner",
        "fsetid",
        "kill",
        "mknod",
        "net-bind-service",
        "net-raw",
        "setfcap",
        "setgid",
        "setpcap",
        "setuid",
        "sys-chroot",
    ];
    let capabilities: Map<String, Value> = capabilities.iter().map(|name| ((*name).to_owned(), true.into())).collect();
    let tree = json!({
        "motd": "Welcome to Bottlerocket!",
        "updates": {
            "metadata-base-url": "https://updates.bottlerocket.aws/2020-07-07/aws-ecs-2/x86_64/",
            "targets-base-url": "https://updates.bottlerocket.aws/targets/",
            "seed": 1024,
            "version-lock": "latest",
            "ignore-waves": false,
        },
        "host-containers": {
            "admin": {
                "source": format!("{images}/bottlerocket-admin:v0.11.9"),
                "enabled": false,
                "superpowered": true,
            },
            "control": {
                "source": format!("{images}/bottlerocket-control:v0.7.13"),
                "enabled": true,
                "superpowered": false,
            },
        },
        "ntp": { "time-servers": ["169.254.169.123", "2.amazon.pool.ntp.org"], "options": ["iburst"] },
        "network": { "hostname": instance.hostname },
        "kernel": { "lockdown": "integrity" },
        "boot": { "reboot-to-reconcile": false },
        "aws": { "region": instance.region },
        "ecs": {
            "cluster": "simulated",
            "allow-privileged-containers": false,
            "logging-drivers": ["json-file", "awslogs", "none"],
            "loglevel": "info",
            "image-pull-behavior": "default",
        },
        "metrics": {
            "metrics-url": "https://metrics.bottlerocket.aws/v1/metrics",
            "send-metrics": true,
            "service-checks": ["apiserver", "chronyd", "containerd", "host-containerd", "docker", "ecs"],
        },
        "oci-defaults": {
            "capabilities": capabilities,
            "resource-limits": { "max-open-files": { "hard-limit": 4096, "soft-limit": 1024 } },
        },
        "oci-hooks": { "log4j-hotpatch-enabled": false },
        "cloudformation": { "should-signal": false, "stack-name": "", "logical-resource-id": "" },
        "autoscaling": { "should-wait": false },
    });
    match tree {
        Value::Object(tree) => tree,
        _ => Map::new(),
    }
}
