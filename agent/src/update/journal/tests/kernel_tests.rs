//! On a file system that is full, which needs root.

use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, unshare};

use super::*;

/// On a file system of its own, which ends with the thread.
#[test]
fn a_full_disk_keeps_the_value_before() {
    thread::spawn(|| {
        let disk = dir();
        unshare(CloneFlags::CLONE_NEWNS).expect("needs root");
        let mount = |args: &[&str]| assert!(Command::new("mount").args(args).status().unwrap().success());
        mount(&["--make-rprivate", "/"]);
        mount(&["-t", "tmpfs", "-o", "size=256k", "tmpfs", disk.path().to_str().unwrap()]);
        let (mut journal, _) = Journal::open(disk.path()).unwrap();
        journal.save(&"x".repeat(10_000)).unwrap();
        journal.save(&"x").unwrap();
        let filler = disk.path().join("filler");
        let mut full = File::create(&filler).unwrap();
        while full.write_all(&[0; 4096]).is_ok() {}
        drop(full);
        // What fits into the room that the slot has is still saved.
        journal.save(&intent()).unwrap();
        let large = "y".repeat(100_000);
        let error = journal.save(&large).unwrap_err();
        let JournalError::Write { source, .. } = error else { panic!("{error}") };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        let loaded = self::loaded(&disk);
        assert_eq!((loaded.body, loaded.damaged), (Some(intent()), vec![slot(&disk, 1)]));

        // Once there is room, the same owner goes on.
        fs::remove_file(&filler).unwrap();
        journal.save(&large).unwrap();
        assert_eq!(self::loaded(&disk).body, Some(json!(large)));
    })
    .join()
    .unwrap();
}
