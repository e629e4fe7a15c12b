use proptest::prelude::*;

use super::*;
use crate::dataplane::netlink::{messages, nfproto};
use crate::dataplane::nft::abi;

proptest! {
    #[test]
    fn no_elements_make_the_reader_fail(
        set in prop::sample::select(&RULESET[..]),
        key in prop::collection::vec(any::<u8>(), 0..40),
        value in prop::collection::vec(any::<u8>(), 0..24),
    ) {
        let mut batch = Batch::new();
        batch.push(msg::NEWSETELEM, 0, nfproto(Family::V4), |w| {
            w.text(abi::elem::LIST_SET, set);
            w.nest(abi::elem::LIST_ELEMENTS, |w| w.nest(abi::LIST_ELEM, |w| {
                w.nest(abi::elem::KEY, |w| w.attr(abi::data::VALUE, &key));
                w.nest(abi::elem::DATA, |w| w.attr(abi::data::VALUE, &value));
            }));
        });
        for element in messages(batch.messages()).flat_map(|message| read(&message)).flatten() {
            let mut again = Batch::new();
            write(&mut again, Family::V4, &Op::Add(element.clone()));
            let read: Vec<_> = messages(again.messages()).flat_map(|message| read(&message)).collect();
            prop_assert_eq!(read, vec![Some(element)], "what is taken for an element is one");
        }
    }
}
