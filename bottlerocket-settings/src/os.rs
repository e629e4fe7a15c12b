//! What the host says of its operating system.

use crate::settings::section;

section! {
    /// `GET /os`. Names are in snake case here, unlike the settings'.
    ///
    /// Source: core-kit `sources/bottlerocket-release/src/lib.rs`, which reads `/etc/os-release`.
    Os {
        /// `pretty_name`, such as `Bottlerocket OS 1.20.5 (aws-ecs-2)`.
        pretty_name: String = "pretty_name",
        /// `variant_id`, such as `aws-ecs-2`.
        variant_id: String = "variant_id",
        /// `version_id`: the semantic version that runs.
        version_id: String = "version_id",
        /// `build_id`: a commit.
        build_id: String = "build_id",
        /// `arch`, such as `x86_64`.
        arch: String = "arch",
    }
}
