use super::counter;

const NETSTAT: &str =
    "TcpExt: SyncookiesSent TCPSynRetrans TCPOrigDataSent\nTcpExt: 1 23 4\nIpExt: InOctets\nIpExt: 9\n";

#[test]
fn a_counter_is_found_under_its_name() {
    assert_eq!(counter(NETSTAT, "TcpExt:", "TCPSynRetrans"), Some(23));
    assert_eq!(counter(NETSTAT, "IpExt:", "InOctets"), Some(9));
}

#[test]
fn a_counter_of_another_group_is_not_taken() {
    assert_eq!(counter(NETSTAT, "IpExt:", "TCPSynRetrans"), None);
    assert_eq!(counter("TcpExt: TCPSynRetrans\n", "TcpExt:", "TCPSynRetrans"), None);
}
