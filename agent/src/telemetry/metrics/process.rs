//! `process_*`, under the names that Prometheus clients agree on, from procfs (proc(5)).

use std::fmt;

use procfs::process::Process;
use procfs::{ProcResult, boot_time_secs, page_size, ticks_per_second};
use prometheus_client::encoding::DescriptorEncoder;

use super::sample::{count, counter, gauge};

/// Reads `/proc/self` at each scrape.
#[derive(Debug)]
pub(super) struct ProcessCollector;

impl prometheus_client::collector::Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // Without /proc there is nothing to say of the process; the other metrics still count.
        let Ok(usage) = Usage::read() else { return Ok(()) };
        let help = "CPU time, user and system, in seconds";
        counter(&mut encoder, "process_cpu_seconds", help, usage.cpu_seconds)?;
        gauge(&mut encoder, "process_resident_memory_bytes", "Resident memory in bytes", usage.resident_bytes)?;
        gauge(&mut encoder, "process_open_fds", "Open file descriptors", usage.open_fds)?;
        let help = "When the process started, in seconds since the Unix epoch";
        gauge(&mut encoder, "process_start_time_seconds", help, usage.started)
    }
}

struct Usage {
    cpu_seconds: f64,
    resident_bytes: u64,
    open_fds: i64,
    started: f64,
}

impl Usage {
    #[expect(clippy::cast_precision_loss, reason = "ticks and seconds stay far below 2^53")]
    fn read() -> ProcResult<Self> {
        let process = Process::myself()?;
        let stat = process.stat()?;
        let tick = 1.0 / ticks_per_second() as f64;
        Ok(Self {
            cpu_seconds: (stat.utime + stat.stime) as f64 * tick,
            resident_bytes: process.statm()?.resident * page_size(),
            open_fds: count(process.fd_count()?),
            started: boot_time_secs()? as f64 + stat.starttime as f64 * tick,
        })
    }
}
