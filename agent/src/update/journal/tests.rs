use std::os::unix::fs::symlink;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

use super::*;

#[cfg(feature = "kernel")]
mod kernel_tests;

fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn slot(dir: &TempDir, index: usize) -> PathBuf {
    dir.path().join(SLOTS[index])
}

fn loaded(dir: &TempDir) -> Loaded {
    Journal::open(dir.path()).unwrap().1
}

/// A directory whose newest value, `new`, is in slot 1, and the one before, `"old"`, in slot 0.
fn two(new: &Value) -> TempDir {
    let dir = dir();
    let (mut journal, first) = Journal::open(dir.path()).unwrap();
    assert!(first.body.is_none() && first.damaged.is_empty() && !first.is_lost());
    journal.save(&"old").unwrap();
    journal.save(new).unwrap();
    dir
}

fn intent() -> Value {
    json!({"phase": "activating", "from": "1.20.5", "to": "1.21.1", "deadline": 600})
}

#[test]
fn what_is_saved_is_loaded_by_the_next_start() {
    let dir = dir();
    let path = dir.path().join("made/for/it");
    for round in 1..6 {
        let (mut journal, before) = Journal::open(&path).unwrap();
        assert_eq!((before.body, before.damaged.len()), ((round > 1).then(|| json!({"round": round - 1})), 0));
        journal.save(&json!({"round": "not yet"})).unwrap();
        journal.save(&json!({"round": round})).unwrap();
        if round % 2 == 0 {
            journal.save(&json!({"round": round})).unwrap();
        }
    }
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    for name in SLOTS {
        assert_eq!(fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

/// Read as fast as can be, this number is another in its last digit, and a third one with the next start.
#[test]
fn a_number_stays_the_same_however_often_it_is_saved() {
    let dir = dir();
    let number = "2015209444.47302747251";
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    journal.save(&serde_json::from_str::<Value>(number).unwrap()).unwrap();
    for _ in 0..3 {
        let (mut journal, loaded) = Journal::open(dir.path()).unwrap();
        assert_eq!(loaded.body.as_ref().and_then(Value::as_f64), number.parse().ok());
        journal.save(&loaded.body).unwrap();
    }
}

#[test]
fn a_slot_is_plain() {
    let dir = two(&intent());
    let text = fs::read_to_string(slot(&dir, 1)).unwrap();
    let (header, body) = text.split_once('\n').unwrap();
    let header: Value = serde_json::from_str(header).unwrap();
    assert_eq!((&header["format"], &header["sequence"], &header["length"]), (&json!(1), &json!(2), &json!(body.len())));
    assert_eq!(serde_json::from_str::<Value>(body).unwrap(), intent());
}

#[test]
fn a_write_that_was_cut_never_happened() {
    let dir = two(&intent());
    let new = fs::read(slot(&dir, 1)).unwrap();
    for length in 0..new.len() {
        fs::write(slot(&dir, 1), &new[..length]).unwrap();
        let loaded = loaded(&dir);
        assert_eq!((loaded.body, loaded.damaged), (Some(json!("old")), vec![slot(&dir, 1)]), "{length} bytes");
    }
    // The next save goes where the cut one went, and the old value stays until it is done.
    let old = fs::read(slot(&dir, 0)).unwrap();
    Journal::open(dir.path()).unwrap().0.save(&"newer").unwrap();
    assert_eq!(fs::read(slot(&dir, 0)).unwrap(), old);
    assert_eq!(loaded(&dir).body, Some(json!("newer")));
}

/// Slots are written in place: a cut one begins with the new value and ends with what was there before.
#[test]
fn a_cut_write_over_another_value_never_happened() {
    for before in [json!("x"), json!("y".repeat(200)), json!({"phase": "activating", "from": "1.20.4"})] {
        let dir = two(&intent());
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        let new = fs::read(slot(&dir, 1)).unwrap();
        journal.save(&"between").unwrap();
        journal.save(&before).unwrap();
        let before = fs::read(slot(&dir, 1)).unwrap();
        for length in 0..new.len() {
            let torn = [&new[..length], before.get(length..).unwrap_or_default()].concat();
            fs::write(slot(&dir, 1), &torn).unwrap();
            let expected = if torn == before { Entry::decode(&before).unwrap().body } else { json!("between") };
            assert_eq!(loaded(&dir).body, Some(expected), "{length} bytes");
        }
    }
}

#[test]
fn no_flipped_bit_goes_unnoticed() {
    let dir = two(&intent());
    let new = fs::read(slot(&dir, 1)).unwrap();
    for bit in 0..new.len() * 8 {
        let mut flipped = new.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(slot(&dir, 1), &flipped).unwrap();
        let loaded = loaded(&dir);
        assert_eq!((loaded.body, loaded.damaged.len()), (Some(json!("old")), 1), "bit {bit}");
    }
}

#[test]
fn two_damaged_slots_are_a_loss_and_a_new_beginning() {
    let dir = two(&intent());
    fs::write(slot(&dir, 0), "").unwrap();
    fs::write(slot(&dir, 1), vec![b'{'; 3 * MAX_BODY]).unwrap();
    let (mut journal, loaded) = Journal::open(dir.path()).unwrap();
    assert!(loaded.is_lost() && loaded.body.is_none());
    journal.save(&intent()).unwrap();
    let (_, loaded) = Journal::open(dir.path()).unwrap();
    assert_eq!((loaded.is_lost(), loaded.body), (false, Some(intent())));
}

/// An agent of another version wrote what this one does not know, in header and body.
#[test]
fn another_version_is_read_and_nothing_of_it_lost() {
    let dir = two(&intent());
    let text = fs::read_to_string(slot(&dir, 1)).unwrap();
    fs::write(slot(&dir, 1), text.replacen('{', r#"{"writer":{"version":"9.0.0"},"#, 1)).unwrap();
    let (mut journal, loaded) = Journal::open(dir.path()).unwrap();

    #[derive(Serialize, Deserialize)]
    struct Older {
        phase: String,
        #[serde(flatten)]
        rest: serde_json::Map<String, Value>,
    }
    let mut older: Older = serde_json::from_value(loaded.body.unwrap()).unwrap();
    older.phase = "rebooting".to_owned();
    journal.save(&older).unwrap();
    let mut expected = intent();
    expected["phase"] = json!("rebooting");
    assert_eq!(self::loaded(&dir).body, Some(expected));

    // Another format is none of ours: what is there of this one counts.
    fs::write(slot(&dir, 0), text.replacen("\"format\":1", "\"format\":2", 1)).unwrap();
    fs::write(slot(&dir, 1), text).unwrap();
    let loaded = self::loaded(&dir);
    assert_eq!((loaded.body, loaded.damaged), (Some(intent()), vec![slot(&dir, 0)]));
}

#[test]
fn nothing_in_a_slots_place_is_followed() {
    let elsewhere = dir();
    let victim = elsewhere.path().join("victim");
    let place_a_link = |slot: &Path| symlink(&victim, slot).unwrap();
    let place_a_name = |slot: &Path| fs::hard_link(&victim, slot).unwrap();
    let place_a_pipe = |slot: &Path| mkfifo(slot, Mode::S_IRWXU).unwrap();
    for place in [&place_a_link as &dyn Fn(&Path), &place_a_name, &place_a_pipe] {
        let dir = two(&intent());
        // A value that would win, if it were read.
        fs::write(&victim, encode(9, b"\"elsewhere\"").unwrap()).unwrap();
        let before = fs::read(&victim).unwrap();
        fs::remove_file(slot(&dir, 0)).unwrap();
        place(&slot(&dir, 0));
        let (mut journal, loaded) = Journal::open(dir.path()).unwrap();
        assert_eq!((loaded.body, loaded.damaged), (Some(intent()), vec![slot(&dir, 0)]));
        journal.save(&"saved").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), before);
        let (_, loaded) = Journal::open(dir.path()).unwrap();
        assert_eq!((loaded.body, loaded.damaged.len()), (Some(json!("saved")), 0));
    }
}

#[test]
fn what_cannot_be_saved_leaves_the_journal_as_it_was() {
    let dir = two(&intent());
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    let slots = || SLOTS.map(|name| fs::read(dir.path().join(name)).unwrap());
    let before = slots();
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    assert!(matches!(journal.save(&deep), Err(JournalError::Encode(_))));
    let large = "x".repeat(MAX_BODY);
    assert!(matches!(journal.save(&large), Err(JournalError::TooLarge { length }) if length == MAX_BODY + 2));
    assert_eq!(slots(), before);
    journal.save(&large[2..]).unwrap();
    assert_eq!(loaded(&dir).body, Some(json!(&large[2..])));
}

#[test]
fn a_slot_that_cannot_be_written_or_read() {
    let dir = two(&intent());
    let (mut journal, _) = Journal::open(dir.path()).unwrap();
    fs::remove_file(slot(&dir, 0)).unwrap();
    fs::create_dir(slot(&dir, 0)).unwrap();
    let error = journal.save(&"saved").unwrap_err();
    assert!(matches!(&error, JournalError::Write { slot, .. } if *slot == self::slot(&dir, 0)), "{error}");
    assert_eq!(loaded(&dir).body, Some(intent()));
    fs::remove_dir(slot(&dir, 0)).unwrap();
    journal.save(&"saved").unwrap();
    assert_eq!(loaded(&dir).body, Some(json!("saved")));

    let file = slot(&dir, 0);
    let error = Journal::open(&file.join("below")).unwrap_err();
    assert!(matches!(error, JournalError::Directory { .. }), "{error}");
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-z_\n]{0,8}", inner, 0..6).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Saves, restarts, and cuts of the save that would have been next: it is always the last whole save that loads.
    #[test]
    fn the_last_whole_save_loads(
        saves in prop::collection::vec((value(), any::<bool>(), any::<Option<prop::sample::Index>>()), 1..12),
    ) {
        let dir = dir();
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        let mut last = None;
        for (value, restart, cut) in saves {
            let before = SLOTS.map(|name| fs::read(dir.path().join(name)).ok());
            journal.save(&value).unwrap();
            let index = journal.newest.unwrap().0;
            let whole = fs::read(slot(&dir, index)).unwrap();
            let mut torn = whole.clone();
            if let Some(cut) = cut {
                // The power goes amid the write.
                let cut = cut.index(whole.len());
                let rest = before[index].as_deref().unwrap_or_default().get(cut..).unwrap_or_default();
                torn = [&whole[..cut], rest].concat();
                fs::write(slot(&dir, index), &torn).unwrap();
            }
            if torn == whole {
                last = Some(value);
            }
            if restart || cut.is_some() {
                let loaded;
                (journal, loaded) = Journal::open(dir.path()).unwrap();
                prop_assert_eq!(&loaded.body, &last);
                prop_assert!(!loaded.is_lost());
            }
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), header in any::<bool>()) {
        let bytes = if header { [&b"{\"format\":1,\"sequence\":1,\"length\":9,\"checksum\":7}\n"[..], &bytes].concat() } else { bytes };
        prop_assert!(Entry::decode(&bytes).is_none());
    }
}
