use super::*;

#[test]
fn a_slip_of_the_pen_is_understood_and_another_word_is_not() {
    let known = ["port", "protocol", "vip_cidr"];
    for (unknown, meant) in [("prot", "port"), ("Portocol", "protocol"), ("vip-cidr", "vip_cidr")] {
        assert_eq!(nearest(unknown, &known), Some(meant));
    }
    assert_eq!(nearest("zzz", &known), None);
    assert_eq!(nearest("", &known), None);
    assert_eq!(nearest(&"p".repeat(1 << 20), &known), None);
}
