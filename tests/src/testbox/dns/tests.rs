use super::*;

#[test]
fn an_answer_says_what_was_put_in() {
    let asked = query(7, "Orders.prod.", 1);
    assert_eq!(question(&asked).unwrap().0, "orders.prod");
    let addresses = [Ipv4Addr::new(198, 19, 0, 2), Ipv4Addr::new(10, 0, 0, 1)];
    assert_eq!(reply(&answer(&asked, 0, &addresses).unwrap()), Some((7, 0, addresses.to_vec())));
    assert_eq!(reply(&answer(&asked, NXDOMAIN, &[]).unwrap()), Some((7, NXDOMAIN, vec![])));
}

#[test]
fn names_written_out_and_other_records_are_passed_over() {
    let mut message = answer(&query(1, "a.b", 1), 0, &[]).unwrap();
    message[7] = 2;
    message.extend(b"\x01c\x00\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x02\xc0\x0c"); // c CNAME a.b
    message.extend(b"\x01a\x01b\x00\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x01\x02\x03\x04");
    assert_eq!(reply(&message), Some((1, 0, vec![Ipv4Addr::new(1, 2, 3, 4)])));
}

#[test]
fn a_cut_message_is_no_message() {
    let message = answer(&query(1, "orders", 1), 0, &[Ipv4Addr::LOCALHOST]).unwrap();
    for length in 0..message.len() {
        assert_eq!(reply(&message[..length]), None, "{length}");
    }
}
