use std::sync::{Arc, Mutex};

use super::*;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_value_cannot_move_the_cursor_of_whoever_reads_the_log() {
    let buffer = Buffer::default();
    let writer = buffer.clone();
    let subscriber = tracing_subscriber::registry().with(for_people(move || writer.clone()));
    tracing::subscriber::with_default(subscriber, || {
        tracing::warn!(label = %"a\x1b[2Jb\nc", other = 3, "bad \x1b[1m label");
    });
    let line = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
    assert!(line.ends_with("bad \\u{1b}[1m label label=a\\u{1b}[2Jb\\nc other=3\n"), "{line:?}");
}

#[test]
fn the_hosts_journal_is_linked_once_and_only_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, host) = (dir.path().join("run/systemd/journal"), dir.path().join("host"));
    assert!(!link_journal(&journal, &host).unwrap(), "no host journal");
    assert!(!journal.exists());

    fs::create_dir(&host).unwrap();
    fs::write(host.join("socket"), "").unwrap();
    assert!(link_journal(&journal, &host).unwrap());
    assert!(journal.join("socket").exists());
    assert!(!link_journal(&journal, &host).unwrap(), "a second start finds the link");
}

#[test]
fn a_journal_of_the_containers_own_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, host) = (dir.path().join("journal"), dir.path().join("host"));
    fs::create_dir(&journal).unwrap();
    fs::create_dir(&host).unwrap();
    fs::write(host.join("socket"), "").unwrap();
    assert!(!link_journal(&journal, &host).unwrap());
    assert!(!fs::symlink_metadata(&journal).unwrap().is_symlink());
}
