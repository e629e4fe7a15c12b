use super::*;

/// Of a header or message whose checksum is right, all words add up to this (RFC 1071).
fn adds_up(bytes: &[u8]) -> bool {
    let sum: u32 = bytes.as_chunks().0.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    (sum & 0xffff) + (sum >> 16) == 0xffff
}

#[test]
fn the_packet_tells_which_datagram_it_is_about() {
    let packet = port_unreachable("172.17.0.3:40000".parse().unwrap(), "240.240.0.1:5301".parse().unwrap());
    assert_eq!(packet.len(), IPV4 + ICMP + IPV4 + UDP);
    assert_eq!((packet[9], &packet[12..20]), (IS_ICMP, &[240, 240, 0, 1, 172, 17, 0, 3][..]));
    assert_eq!(packet[20..22], PORT_UNREACHABLE);
    let sent = &packet[28..];
    assert_eq!((sent[9], &sent[12..20]), (IS_UDP, &[172, 17, 0, 3, 240, 240, 0, 1][..]));
    assert_eq!(sent[20..24], [[0x9c, 0x40], [0x14, 0xb5]].concat());
    assert!(adds_up(&packet[..20]) && adds_up(&packet[20..]) && adds_up(&sent[..20]));
}
