//! The benchmark's program; run it with `tests/bench`.

use clap::Parser as _;

fn main() -> anyhow::Result<()> {
    meshdog_tests::bench::run(meshdog_tests::bench::Args::parse())
}
