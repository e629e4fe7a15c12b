use std::thread;

use super::*;

/// A channel, and the other end of it.
fn pair() -> (Channel, UnixStream) {
    let (here, there) = UnixStream::pair().unwrap();
    (Channel { stream: BufReader::new(here), asked: 0, line: Vec::new() }, there)
}

#[test]
fn asks_and_understands() {
    let (mut channel, mut there) = pair();
    there.write_all(b"1 3 b3V0Cg== ZXJyCg==\n").unwrap();
    let answer = channel.ask("echo", Duration::from_secs(10)).unwrap();
    assert_eq!(answer, Answer { status: 3, stdout: "out\n".to_owned(), stderr: "err\n".to_owned() });
    let mut asked = String::new();
    BufReader::new(there).read_line(&mut asked).unwrap();
    assert_eq!(asked, "1 ZWNobw==\n");
}

#[test]
fn what_is_answered_too_late_is_nobodys() {
    let (mut channel, mut there) = pair();
    there.write_all(b"1 0 ").unwrap();
    let late = channel.ask("sleep", Duration::from_millis(20)).unwrap_err();
    assert_eq!(late.to_string(), "no answer from inside");
    there.write_all(b" \n2 0 Mg== \n").unwrap();
    assert_eq!(channel.ask("next", Duration::from_secs(10)).unwrap().stdout, "2");
}

#[test]
fn a_machine_that_stops_does_not_answer() {
    let (mut channel, there) = pair();
    let stop = thread::spawn(move || drop(there));
    let stopped = channel.ask("reboot", Duration::from_secs(10)).unwrap_err();
    assert_eq!(stopped.to_string(), "the machine has stopped");
    stop.join().unwrap();
}

#[test]
fn nonsense_is_no_answer() {
    for nonsense in ["", "1", "1 0 \n", "x 0  ", "1 y  ", "1 0 ? ", "1 0   "] {
        assert!(parse(nonsense).is_err(), "{nonsense}");
    }
}
