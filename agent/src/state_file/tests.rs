use super::*;
use crate::frozen_clock::FrozenClock;

fn file(dir: &tempfile::TempDir) -> StateFile {
    StateFile::new(&dir.path().join("state"), "memory", 8)
}

#[test]
fn it_is_replaced_whole_or_not_at_all_and_bounded_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let file = file(&dir);
    assert_eq!(file.read().unwrap(), None);
    file.write(|out| out.write_all(b"12345678")).unwrap();
    assert_eq!(file.read().unwrap().unwrap(), b"12345678");
    for fails in [
        file.write(|out| out.write_all(b"123456789")),
        file.write(|out| out.write_all(b"1").and_then(|()| Err(io::Error::other("no")))),
    ] {
        assert!(matches!(fails, Err(StateFileError::Write { .. })));
        assert_eq!(file.read().unwrap().unwrap(), b"12345678");
    }
    fs::write(file.path(), b"123456789").unwrap();
    assert!(matches!(file.read(), Err(StateFileError::Read { .. })));
}

#[tokio::test]
async fn changes_are_written_together_after_a_while_and_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let file = file(&dir);
    let mut saver = Saver::new(file.clone());
    let clock = FrozenClock::new();
    saver.changed();
    clock.advance(DELAY / 2).await;
    saver.changed();
    clock.advance(DELAY / 2).await;
    saver.due().await;
    saver.write(|out| out.write_all(b"one"));
    saver.changed();
    saver.finish(|out| out.write_all(b"two")).await;
    assert_eq!(file.read().unwrap().unwrap(), b"two");
    // Nothing has changed since: nothing is written.
    let saver = Saver::new(file.clone());
    saver.finish(|_| Err(io::Error::other("not called"))).await;
    assert_eq!(file.read().unwrap().unwrap(), b"two");
}

#[tokio::test]
async fn a_write_that_failed_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut saver = Saver::new(file(&dir));
    let clock = FrozenClock::new();
    saver.changed();
    clock.advance(DELAY).await;
    saver.due().await;
    saver.write(|_| Err(io::Error::other("disk")));
    saver.written().await;
    assert!(saver.failed && saver.due == Some(Instant::now() + AGAIN));
    clock.advance(AGAIN).await;
    saver.due().await;
    saver.write(|out| out.write_all(b"there"));
    saver.written().await;
    assert!(!saver.failed && saver.due.is_none());
}
