use super::*;

#[test]
fn an_answer_tells_every_byte_of_its_query_but_the_id() {
    let asked = dns::query(1, "a.zoo.test", 1);
    let answers = |message: &[u8]| script(message, false).messages;
    let mut with_other_id = asked.clone();
    with_other_id[0] ^= 1;
    assert_eq!(answers(&asked)[0][2..], answers(&with_other_id)[0][2..]);
    for at in 2..asked.len() {
        let mut changed = asked.clone();
        changed[at] ^= 0x20;
        assert_ne!(answers(&asked), answers(&changed), "{at}");
    }
}

#[test]
fn an_address_is_readable() {
    let answers = script(&dns::query(9, "a.zoo.test", 1), false).messages;
    let (id, code, addresses) = dns::reply(&answers[0]).unwrap();
    assert_eq!((id, code, addresses.len()), (9, 0, 1));
    let (_, code, none) = dns::reply(&script(&dns::query(9, "nx.zoo.test", 1), false).messages[0]).unwrap();
    assert_eq!((code, none.len()), (dns::NXDOMAIN, 0));
}

#[test]
fn sizes_are_as_the_table_says() {
    let length = |name, tcp| script(&dns::query(1, name, 16), tcp).messages[0].len();
    assert!((3_600..4_096).contains(&length("big.zoo.test", false)), "{}", length("big.zoo.test", false));
    assert!((58_000..65_535).contains(&length("big.zoo.test", true)), "{}", length("big.zoo.test", true));
    assert!((19_000..21_000).contains(&length("huge.zoo.test", false)));
    assert_eq!(script(&dns::query(1, "zoo.test", 252), true).messages.len(), 3);
    assert_eq!(script(&dns::query(1, "silent.zoo.test", 1), true), Script::default());
}
