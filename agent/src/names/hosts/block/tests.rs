use proptest::prelude::*;

use super::*;
use crate::model::DualStack;

const DOCKERS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n172.17.0.3\t0123456789ab\n";

pub(crate) fn names(names: &[(&str, u8)]) -> Names {
    names.iter().map(|(name, vip)| (name.parse().unwrap(), DualStack::V4([198, 19, 0, *vip].into()))).collect()
}

fn block(told: &[(&str, u8)]) -> Block {
    Block::of(&names(told)).0
}

fn edited(text: &[u8], block: Option<&Block>) -> Vec<u8> {
    let edit = Edit::of(text, block);
    [&text[..edit.at], &edit.bytes].concat()
}

fn shown(text: &str, told: &[(&str, u8)]) -> String {
    String::from_utf8(edited(text.as_bytes(), Some(&block(told)))).unwrap()
}

fn framed(lines: &str) -> String {
    format!("{BEGIN}\n{lines}{END}\n")
}

#[test]
fn names_stand_at_the_end_between_two_markers() {
    let first = shown(DOCKERS, &[("orders", 7), ("orders.prod", 7)]);
    assert_eq!(first, DOCKERS.to_owned() + &framed("198.19.0.7 orders\n198.19.0.7 orders.prod\n"));
    let second = shown(&first, &[("orders", 7), ("pay", 8)]);
    assert_eq!(second, DOCKERS.to_owned() + &framed("198.19.0.7 orders\n198.19.0.8 pay\n"));
    assert_eq!(shown(&second, &[]), DOCKERS, "no names, no block");
    assert_eq!(edited(second.as_bytes(), None), DOCKERS.as_bytes());
    let edit = Edit::of(second.as_bytes(), Some(&block(&[("orders", 7), ("pay", 8)])));
    assert!(edit.is_done(second.as_bytes()));
    assert_eq!((edit.at, edit.names, edit.own), (DOCKERS.len(), 2, 0));
    assert!(Edit::of(DOCKERS.as_bytes(), None).is_done(DOCKERS.as_bytes()));
}

#[test]
fn a_name_that_the_file_itself_defines_is_left_out() {
    for own in ["10.0.0.1 orders\n", "10.0.0.1\tx Orders. # y\n", "10.0.0.1 a\u{b}ORDERS\r\n", "fe80::1%eth0 orders\n"]
    {
        let told = Edit::of(own.as_bytes(), Some(&block(&[("orders", 7), ("pay", 8)])));
        assert_eq!((told.names, told.own), if own.contains('\u{b}') { (2, 0) } else { (1, 1) }, "{own:?}");
    }
    // Above the block, below it, and within a comment.
    assert_eq!(
        shown("1.1.1.1 pay\n", &[("orders", 7), ("pay", 8)]),
        "1.1.1.1 pay\n".to_owned() + &framed("198.19.0.7 orders\n")
    );
    let below = framed("198.19.0.8 pay\n") + "1.1.1.1\tpay\n";
    assert_eq!(
        shown(&below, &[("orders", 7), ("pay", 8)]),
        "1.1.1.1\tpay\n".to_owned() + &framed("198.19.0.7 orders\n")
    );
    assert_eq!(Edit::of(b"# 1.1.1.1 pay\n", Some(&block(&[("pay", 8)]))).own, 0);
    assert_eq!(Edit::of(b"pay\n", Some(&block(&[("pay", 8)]))).own, 0, "a line without an address defines nothing");
}

#[test]
fn what_docker_adds_goes_before_the_block() {
    let added = shown(DOCKERS, &[("pay", 8)]) + "172.18.0.2\t0123456789ab\n";
    assert_eq!(
        shown(&added, &[("pay", 8)]),
        format!("{DOCKERS}172.18.0.2\t0123456789ab\n{}", framed("198.19.0.8 pay\n"))
    );
    assert_eq!(edited(added.as_bytes(), None), format!("{DOCKERS}172.18.0.2\t0123456789ab\n").into_bytes());
}

#[test]
fn a_file_without_a_final_newline_is_given_one() {
    assert_eq!(shown("1.1.1.1 a", &[("pay", 8)]), format!("1.1.1.1 a\n{}", framed("198.19.0.8 pay\n")));
    assert_eq!(shown("", &[("pay", 8)]), framed("198.19.0.8 pay\n"));
    assert!(Edit::of(b"1.1.1.1 a", None).is_done(b"1.1.1.1 a"));
    let below = framed("") + "1.1.1.1 a";
    assert_eq!(shown(&below, &[("pay", 8)]), format!("1.1.1.1 a\n{}", framed("198.19.0.8 pay\n")));
}

#[test]
fn broken_blocks_are_mended() {
    let good = DOCKERS.to_owned() + &framed("198.19.0.8 pay\n");
    for broken in [
        // Cut off, with and without a line in halves.
        format!("{DOCKERS}{BEGIN}\n198.19.0.7 orders\n"),
        format!("{DOCKERS}{BEGIN}\n198.19.0.7 orders\n198.19.0"),
        format!("{DOCKERS}{BEGIN}"),
        // Twice, nested, the ends alone, with the lines of another system.
        format!("{DOCKERS}{}{}", framed("198.19.0.7 orders\n"), framed("198.19.0.8 pay\n")),
        format!("{DOCKERS}{BEGIN}\n198.19.0.7 orders\n{}", framed("198.19.0.8 pay\n")),
        format!("{DOCKERS}{END}\n{END}\n"),
        format!("{DOCKERS}{}", framed("198.19.0.7 orders\n").replace('\n', "\r\n")),
        // Filled up, and not cut to its length.
        format!("{good}\n\n\n\n"),
        // A hole before it.
        format!("{DOCKERS}\0\0\0{}", framed("198.19.0.8 pay\n")),
    ] {
        assert_eq!(shown(&broken, &[("pay", 8)]), good, "{broken:?}");
    }
}

#[test]
fn lines_of_others_within_a_block_are_kept() {
    let cut = format!("{BEGIN}\n198.19.0.7 orders\n10.0.0.1\tmine\n198.19.0.7 more\n");
    assert_eq!(shown(&cut, &[]), "10.0.0.1\tmine\n198.19.0.7 more\n");
    let whole = framed("198.19.0.7 orders\n10.0.0.1\tmine\n198.19.0.7 more\n");
    assert_eq!(shown(&whole, &[]), "10.0.0.1\tmine\n");
}

#[test]
fn a_block_has_bounds() {
    let many: Names =
        (0..2000).map(|n| (format!("n{n:04}").parse().unwrap(), DualStack::V4([198, 19, 0, 7].into()))).collect();
    let (block, all) = Block::of(&many);
    assert_eq!((block.names.len(), all), (MAX_NAMES, false));
    let label = "x".repeat(60);
    let long: Names = (0..900)
        .map(|n| (format!("{label}.{label}{n:03}").parse().unwrap(), DualStack::V4([198, 19, 0, 7].into())))
        .collect();
    let (block, all) = Block::of(&long);
    assert!(!all && block.lines.len() <= MAX_BYTES && block.lines.len() > MAX_BYTES - 200);
    let (block, all) = Block::of(&names(&[("localhost", 7), ("pay", 8)]));
    assert_eq!((block.names.len(), all, &*block.lines), (1, true, "198.19.0.8 pay\n"));
    let v6 = [("six".parse().unwrap(), DualStack::V6("fd00::1".parse().unwrap()))].into_iter().collect();
    assert!(Block::of(&v6).0.names.is_empty(), "no container is served over IPv6 yet");
}

/// Pieces of hosts files, whole and broken.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(format!("{BEGIN}\n").into_bytes()),
        Just(format!("{END}\r\n").into_bytes()),
        Just(BEGIN.as_bytes()[..9].to_vec()),
        Just(b"198.19.0.7 orders\n".to_vec()),
        Just(b"10.0.0.1\tPay mine\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(vec![0, 0, 0]),
        prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn told() -> impl Strategy<Value = Names> {
    prop::sample::subsequence(vec![("orders", 7), ("pay", 8), ("pay.prod", 8), ("mine", 9)], 0..4)
        .prop_map(|told| names(&told))
}

/// The lines that are neither ours nor blank.
fn others(text: &[u8]) -> Vec<Vec<u8>> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| kind(line) == Kind::Other);
    lines.map(|line| line.to_vec()).collect()
}

proptest! {
    #[test]
    fn whatever_stands_there_what_is_told_is_told_once_and_nothing_else_changes(text in text(), names in told(), later in told()) {
        let (block, _) = Block::of(&names);
        let edit = Edit::of(&text, Some(&block));
        let after = [&text[..edit.at], &edit.bytes].concat();
        prop_assert!(Edit::of(&after, Some(&block)).is_done(&after), "once more changes nothing");
        let markers = |text: &[u8], what| text.split(|byte| *byte == b'\n').filter(|line| kind(line) == what).count();
        prop_assert_eq!(markers(&after, Kind::Begin), usize::from(edit.names > 0));
        prop_assert_eq!(markers(&after, Kind::End), usize::from(edit.names > 0));

        // Each of our names stands where its own lines say, or else in the block, and there once.
        let begin = after.windows(BEGIN.len()).rposition(|at| at == BEGIN.as_bytes());
        let start = begin.filter(|_| edit.names > 0).unwrap_or(after.len());
        let told: Vec<&str> = std::str::from_utf8(&after[start..]).unwrap().lines().filter(|l| !l.starts_with('#')).collect();
        prop_assert_eq!(told.len(), edit.names);
        let own: BTreeSet<AliasName> = own_names(&after[..start], &names).collect();
        for (name, vips) in &names {
            let line = format!("{} {name}", vips.first());
            prop_assert_eq!(told.contains(&line.as_str()), !own.contains(name));
        }

        // Others' whole lines are all there, in their order. One that breaks off after a beginning is taken for ours.
        let (before, now) = (others(&text), others(&after));
        let all_but_last = before.split_last().map(|(_, before)| before);
        prop_assert!(before == now || all_but_last == Some(&now) && !text.ends_with(b"\n"), "{before:?} {now:?}");

        // The way there does not matter, and the way back leads to where there was no block.
        let (other, _) = Block::of(&later);
        let by_way = edited(&edited(&text, Some(&other)), Some(&block));
        prop_assert!(by_way == after || by_way == [&after[..], b"\n"].concat(), "{by_way:?} {after:?}");
        let bare = edited(&text, None);
        prop_assert!(Edit::of(&bare, None).is_done(&bare));
        let back = edited(&after, None);
        prop_assert!(back == bare || back == [&bare[..], b"\n"].concat());
    }
}
