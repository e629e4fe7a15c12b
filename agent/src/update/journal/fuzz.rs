//! What must hold of every slot.

use serde_json::Value;

use super::{Entry, MAX_BODY, encode};
use crate::update::machine::Record;

/// A slot as it lies on disk; also a value, for which a fuzzer would have to find the checksum.
pub fn journal(bytes: &[u8]) {
    if let Some(entry) = Entry::decode(bytes) {
        keeps(&entry);
    }
    let Ok(slot) = encode(7, bytes) else { return };
    let entry = Entry::decode(&slot);
    let is_json = serde_json::from_slice::<Value>(bytes).is_ok();
    assert_eq!(entry.is_some(), is_json && bytes.len() <= MAX_BODY, "what was written is damaged");
    // Another one's bytes under the same header, or a cut: nothing whole.
    let cut = slot.split_last().map_or(&slot[..], |(_, cut)| cut);
    assert!(Entry::decode(cut).is_none(), "a cut slot is whole");
    if let Some(entry) = entry {
        assert_eq!(entry.sequence, 7);
        keeps(&entry);
    }
}

/// A value that was read is written and read again as the same, and so is what the update makes of it.
fn keeps(entry: &Entry) {
    let body = serde_json::to_vec(&entry.body).unwrap_or_default();
    let again = encode(entry.sequence, &body).ok().and_then(|slot| Entry::decode(&slot));
    assert!(again.is_some_and(|again| again.sequence == entry.sequence && again.body == entry.body), "{}", entry.body);
    let Ok(record) = serde_json::from_value::<Record>(entry.body.clone()) else { return };
    let again = serde_json::to_vec(&record).and_then(|written| serde_json::from_slice::<Record>(&written));
    assert!(again.as_ref().is_ok_and(|again| *again == record), "{record:?} became {again:?}");
}
