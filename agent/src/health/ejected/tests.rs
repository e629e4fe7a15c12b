use super::*;

fn ejected(last: u8, left: u64, proven: bool, now: Instant) -> Ejected {
    let until = now + Duration::from_secs(left);
    Ejected {
        target: Target::new(L4::Tcp, SocketAddr::new([172, 17, 0, last].into(), 8080)),
        life: Life { container: "c".into(), started_ms: 7 },
        ejection: Ejection { until, reason: "refused".into(), proven },
        level: 2,
    }
}

const WALL: u64 = 1_800_000_000_000;

fn written(all: &[Ejected], now: Instant) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, all, (now, WALL)).unwrap();
    bytes
}

/// Who is avoided, for how many seconds.
fn left(bytes: &[u8], now: Instant, wall: u64) -> Vec<(SocketAddr, u64)> {
    let all = read(bytes, (now, wall)).unwrap();
    all.iter().map(|one| (one.target.address(), (one.ejection.until - now).as_secs())).collect()
}

#[test]
fn what_is_written_is_read_and_ends_when_it_would_have() {
    let now = Instant::now();
    let all = [ejected(1, 100, false, now), ejected(2, 20, false, now), ejected(3, 20, true, now)];
    let bytes = written(&all, now);
    assert_eq!(read(&bytes, (now, WALL)).unwrap(), all);
    let [one, _, three] = all.each_ref().map(|one| one.target.address());
    assert_eq!(left(&bytes, now, WALL + 30_000), [(one, 70), (three, 15)], "proof ends by a connect alone");
}

#[test]
fn a_clock_that_is_wrong_avoids_nobody_for_longer_than_any_ejection() {
    let now = Instant::now();
    let bytes = written(&[ejected(1, 100, false, now)], now);
    let times: Vec<u64> = left(&bytes, now, 0).into_iter().map(|(_, left)| left).collect();
    assert_eq!(times, [300]);
    assert!(left(&bytes, now, u64::MAX).is_empty());
}

#[test]
fn a_file_that_is_damaged_says_nothing() {
    let now = Instant::now();
    let bytes = written(&[ejected(1, 100, false, now), ejected(2, 100, true, now)], now);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(read(&changed, (now, WALL)).is_err(), "{at}");
        assert!(read(&bytes[..at], (now, WALL)).is_err(), "{at}");
    }
    let other = br#"{"version":2,"ejected":[]}"#;
    let other = [&other[..], format!("\n{}\n", crc32fast::hash(other)).as_bytes()].concat();
    assert!(matches!(read(&other, (now, WALL)), Err(EjectedError::Version)));
}
