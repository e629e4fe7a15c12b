use proptest::prelude::*;

use super::*;

#[test]
fn what_is_written_reads_back() {
    let mut batch = Batch::new();
    batch.push(9, CREATE, 2, |w| {
        w.text(1, "meshdog");
        w.nest(2, |w| w.be32(7, 0x0102_0304));
        w.attr(3, &[5]);
    });
    batch.push(14, 0, 2, |_| ());
    assert_eq!(batch.len(), 2);
    let bytes = batch.commit();
    let read: Vec<_> = messages(&bytes).collect();
    let kinds: Vec<_> = read.iter().map(|message| (message.kind, message.seq, message.flags)).collect();
    let ours = NFTABLES << 8;
    let expected = [
        (BATCH_BEGIN, 0, REQUEST),
        (ours | 9, 1, REQUEST | CREATE),
        (ours | 14, 2, REQUEST | ACK),
        (BATCH_END, 3, REQUEST),
    ];
    assert_eq!(kinds, expected);
    let attributes: Vec<_> = read[1].attrs().collect();
    assert_eq!(attributes[0], (1, &b"meshdog\0"[..]));
    assert_eq!(find(attributes[1].1, 7).and_then(be32), Some(0x0102_0304));
    assert_eq!(attributes[2], (3, &[5_u8][..]));
    assert_eq!(bytes.len() % 4, 0);
}

#[test]
fn a_rehearsal_has_no_end() {
    let mut batch = Batch::new();
    batch.push(0, 0, 2, |_| ());
    assert!(messages(&batch.rehearsal()).all(|message| message.kind != BATCH_END));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_fail_or_go_on_for_ever(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        prop_assert!(messages(&bytes).count() <= bytes.len());
        prop_assert!(attrs(&bytes).count() <= bytes.len());
    }
}
