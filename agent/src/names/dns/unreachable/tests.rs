use super::*;

#[test]
fn a_message_quotes_the_query_that_it_is_about() {
    let (client, asked) = ("172.17.0.9:40000".parse().unwrap(), "240.240.255.254:5300".parse().unwrap());
    let packet = packet(Code::Port, client, asked, 30);
    assert_eq!(packet.len(), 56);
    let (outer, rest) = packet.split_at(20);
    let (icmp, quoted) = rest.split_at(8);
    assert_eq!((outer[2..4].to_vec(), outer[9]), (vec![0, 56], ICMP));
    assert_eq!((&outer[12..16], &outer[16..20]), (&asked.ip().octets()[..], &client.ip().octets()[..]));
    assert_eq!(icmp[..2], [3, 3]);
    assert_eq!((quoted[2..4].to_vec(), quoted[9]), (vec![0, 58], UDP));
    assert_eq!((&quoted[12..16], &quoted[16..20]), (&client.ip().octets()[..], &asked.ip().octets()[..]));
    assert_eq!(quoted[20..], [&40000_u16.to_be_bytes()[..], &5300_u16.to_be_bytes(), &[0, 38, 0, 0]].concat());
    for whole in [outer, rest, &quoted[..20]] {
        assert_eq!(checksum(whole), 0, "what carries its checksum sums up to nothing");
    }
}

#[test]
fn errors_mean_what_the_kernel_made_them_of() {
    let code = |kind: io::ErrorKind| Code::of(&kind.into());
    assert_eq!(code(io::ErrorKind::ConnectionRefused), Some(Code::Port));
    assert_eq!(code(io::ErrorKind::HostUnreachable), Some(Code::Host));
    assert_eq!(code(io::ErrorKind::NetworkUnreachable), Some(Code::Net));
    assert_eq!(code(io::ErrorKind::OutOfMemory), None, "that is the agent's own trouble");
}

#[test]
fn who_may_not_tell_tells_nobody() {
    let (client, asked) = ("127.0.0.1:4".parse().unwrap(), "127.0.0.1:5".parse().unwrap());
    assert!(!Unreachable::mute().tell(Code::Port, client, asked, 30));
}
