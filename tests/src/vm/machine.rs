//! The machine: a qemu process, its disks and its console.
//!
//! Emulated throughout (`-accel tcg`), since tests run on machines that are virtual themselves. A guest's restart ends
//! the process (`-no-reboot`), and whoever holds it plays the boot loader.
//!
//! A power cut is a SIGKILL. What the guest had only in its own memory is lost then: dirty pages, whatever it had not
//! flushed. What it had written to the disk stays, since it is in this machine's page cache; `cache=unsafe` lets a
//! flush not wait for this machine's own disk, which loses no power. So it is a disk without a volatile cache. The
//! system disk is so slow that the power can go between any two of its writes, such as those of the table's two copies.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::channel::{Answer, Channel};
use crate::harness::{Running, eventually};

/// How long qemu may take to listen.
const START: Duration = Duration::from_secs(20);

/// A machine that has been switched on. Dropped: it is off at once.
#[derive(Debug)]
pub(super) struct Machine {
    qemu: Running,
    channel: Channel,
    console: PathBuf,
    /// Where on the console what counts begins, in bytes.
    begins: u64,
}

impl Machine {
    /// Switches it on. `dir` holds `disk` and `data`, and gets `console`, to which every boot appends.
    ///
    /// # Errors
    /// When the process does not start; the error carries what it said.
    pub(super) fn start(dir: &Path, kernel_arguments: &str) -> anyhow::Result<Self> {
        let system = std::env::var_os("MESHDOG_VM").context("run this with tests/run vm")?;
        let (system, socket) = (Path::new(&system), dir.join("channel"));
        let _ = std::fs::remove_file(&socket);
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-machine", "q35", "-bios", "qboot.rom", "-accel", "tcg,thread=multi", "-cpu", "max"]);
        command.args(["-smp", "2", "-m", "1G", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        command.arg("-kernel").arg(system.join("kernel")).arg("-initrd").arg(system.join("initrd"));
        command.arg("-append").arg(format!("console=ttyS0 panic=-1 mitigations=off {kernel_arguments}"));
        command.args(["-serial", "stdio", "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=channel"]);
        command.arg("-chardev").arg(format!("socket,id=channel,path={},server=on,wait=off", socket.display()));
        for (file, more) in [
            (dir.join("disk"), ",throttling.bps-write=131072"),
            (system.join("system.img"), ",readonly=on"),
            (dir.join("data"), ""),
        ] {
            let file = file.display();
            command.arg("-drive").arg(format!("if=virtio,format=raw,cache=unsafe,file={file}{more}"));
        }
        let console = dir.join("console");
        let begins = std::fs::metadata(&console).map_or(0, |console| console.len());
        let mut qemu = Running::start(&console, &mut command)?;
        let connected = eventually(START, "qemu", || {
            ensure!(qemu.alive(), "it has ended");
            Channel::connect(&socket)
        });
        let (channel, _) = connected.with_context(|| qemu.log_tail())?;
        Ok(Self { qemu, channel, console, begins })
    }

    /// Whether it has not stopped by itself.
    pub(super) fn is_on(&mut self) -> bool {
        self.qemu.alive()
    }

    /// Cuts the power; what it said until then.
    pub(super) fn cut(mut self) -> anyhow::Result<String> {
        self.qemu.kill()?;
        self.console()
    }

    /// See [`Channel::ask`].
    pub(super) fn ask(&mut self, script: &str, within: Duration) -> anyhow::Result<Answer> {
        self.channel.ask(script, within)
    }

    /// What is said on its console from now on counts, and nothing before.
    pub(super) fn forget_console(&mut self) -> anyhow::Result<()> {
        self.begins = std::fs::metadata(&self.console)?.len();
        Ok(())
    }

    /// What it has said on its console since it was switched on, or since that was last forgotten.
    pub(super) fn console(&self) -> anyhow::Result<String> {
        let (mut console, mut said) = (File::open(&self.console)?, Vec::new());
        console.seek(SeekFrom::Start(self.begins))?;
        console.read_to_end(&mut said)?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    /// The end of what it said on its console, for error messages.
    pub(super) fn console_tail(&self) -> String {
        self.qemu.log_tail()
    }
}
