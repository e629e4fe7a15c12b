use proptest::prelude::*;
use serde_json::json;

use super::*;

const MAX: NonZeroU32 = NonZeroU32::new(2).unwrap();

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// Slots with these holders, each since the second of its place.
fn held(holders: &[&str]) -> Slots {
    let mut since = 0..;
    Slots { holders: holders.iter().map(|node| ((*node).into(), at(since.next().unwrap()))).collect() }
}

#[test]
fn a_node_takes_a_free_slot_once() {
    assert_eq!(held(&[]).acquire("a", MAX, at(0)), Acquired::Taken(held(&["a"])));
    assert_eq!(held(&["a"]).acquire("b", MAX, at(1)), Acquired::Taken(held(&["a", "b"])));
    assert_eq!(held(&["a", "b"]).acquire("a", MAX, at(9)), Acquired::Already);
}

#[test]
fn a_refusal_names_the_holders_and_since_when() {
    let Acquired::Full(holders) = held(&["b", "a"]).acquire("c", MAX, at(9)) else { panic!() };
    assert_eq!(holders, "b since 2027-01-15T08:00:00Z, a since 2027-01-15T08:00:01Z");
    let nodes = ["a", "b", "c", "d", "e", "f", "g"];
    let Acquired::Full(holders) = held(&nodes).acquire("x", MAX, at(9)) else { panic!() };
    assert!(holders.starts_with("a since") && holders.ends_with(", 2 more"), "{holders}");
}

#[test]
fn a_lower_limit_takes_no_slot_away() {
    assert_eq!(held(&["a", "b"]).acquire("b", NonZeroU32::MIN, at(9)), Acquired::Already);
    assert!(matches!(held(&["a", "b"]).acquire("c", NonZeroU32::MIN, at(9)), Acquired::Full(_)));
}

#[test]
fn only_a_holder_gives_back() {
    assert_eq!(held(&["a"]).release("b"), None);
    assert_eq!(held(&["a"]).release("a"), Some(held(&[])));
}

#[test]
fn the_value_is_what_an_operator_reads_and_edits() {
    let value = json!({ "holders": { "a": "2027-01-15T08:00:00Z" } });
    assert_eq!(json!(held(&["a"])), value);
    assert_eq!(serde_json::from_value::<Slots>(value).unwrap(), held(&["a"]));
    for strange in ["", "{}", "[]", "7", r#"{"holders":["a"]}"#, r#"{"holders":{"a":"yesterday"}}"#] {
        assert!(serde_json::from_str::<Slots>(strange).is_err(), "{strange} would free slots that may be held");
    }
}

proptest! {
    /// Whoever asks and gives back in whatever order: no more than the limit, and a grant always holds.
    #[test]
    fn never_more_than_the_limit(limit in 1..4_u32, steps in prop::collection::vec((0..8_u8, any::<bool>()), 0..64)) {
        let limit = NonZeroU32::new(limit).unwrap();
        let mut slots = Slots::default();
        for (node, wants) in steps {
            let node = node.to_string();
            if !wants {
                slots = slots.clone().release(&node).unwrap_or(slots);
                prop_assert!(!slots.holders.contains_key(node.as_str()));
                continue;
            }
            let free = slots.holders.len() < limit.get() as usize;
            match slots.clone().acquire(&node, limit, at(0)) {
                Acquired::Taken(next) => slots = next,
                Acquired::Already => {}
                Acquired::Full(_) => prop_assert!(!free),
            }
            prop_assert!(!free || slots.holders.contains_key(node.as_str()));
            prop_assert!(slots.holders.len() <= limit.get() as usize);
        }
    }
}
