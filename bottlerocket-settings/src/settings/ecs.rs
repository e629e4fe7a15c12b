//! `settings.ecs`.

use std::collections::BTreeMap;

use super::section;
use crate::word::words;

section! {
    /// `settings.ecs`: the ECS agent's configuration. Times are Go durations such as `30s`.
    ///
    /// Source: settings-models `settings-extensions/ecs` (`ECSSettingsV1`).
    Ecs {
        /// `cluster`: the cluster that this instance joins.
        cluster: String = "cluster",
        /// `instance-attributes`
        instance_attributes: BTreeMap<String, String> = "instance-attributes",
        /// `allow-privileged-containers`
        allow_privileged_containers: bool = "allow-privileged-containers",
        /// `logging-drivers`
        logging_drivers: Vec<String> = "logging-drivers",
        /// `loglevel`
        loglevel: EcsLogLevel = "loglevel",
        /// `enable-spot-instance-draining`
        enable_spot_instance_draining: bool = "enable-spot-instance-draining",
        /// `image-pull-behavior`
        image_pull_behavior: ImagePullBehavior = "image-pull-behavior",
        /// `container-stop-timeout`
        container_stop_timeout: String = "container-stop-timeout",
        /// `task-cleanup-wait`
        task_cleanup_wait: String = "task-cleanup-wait",
        /// `metadata-service-rps`: requests per second.
        metadata_service_rps: i64 = "metadata-service-rps",
        /// `metadata-service-burst`: requests.
        metadata_service_burst: i64 = "metadata-service-burst",
        /// `reserved-memory`, in MiB.
        reserved_memory: u16 = "reserved-memory",
        /// `image-cleanup-enabled`
        image_cleanup_enabled: bool = "image-cleanup-enabled",
        /// `image-cleanup-wait`
        image_cleanup_wait: String = "image-cleanup-wait",
        /// `image-cleanup-age`
        image_cleanup_age: String = "image-cleanup-age",
        /// `image-cleanup-delete-per-cycle`: images.
        image_cleanup_delete_per_cycle: i64 = "image-cleanup-delete-per-cycle",
        /// `backend-host`
        backend_host: String = "backend-host",
        /// `awsvpc-block-imds`
        awsvpc_block_imds: bool = "awsvpc-block-imds",
        /// `enable-container-metadata`
        enable_container_metadata: bool = "enable-container-metadata",
    }
}

words! {
    /// `settings.ecs.loglevel`. Source: settings-models `modeled-types`, `ECSAgentLogLevel`.
    EcsLogLevel {
        /// `debug`
        Debug = "debug",
        /// `info`, the default.
        Info = "info",
        /// `warn`
        Warn = "warn",
        /// `error`
        Error = "error",
        /// `crit`
        Crit = "crit",
    }
}

words! {
    /// `settings.ecs.image-pull-behavior`. Source: settings-models `modeled-types`, `ECSAgentImagePullBehavior`.
    ImagePullBehavior {
        /// `default`
        Default = "default",
        /// `always`
        Always = "always",
        /// `once`
        Once = "once",
        /// `prefer-cached`
        PreferCached = "prefer-cached",
    }
}
