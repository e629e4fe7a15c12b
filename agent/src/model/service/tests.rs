use super::*;

#[test]
fn what_is_written_is_read_back() {
    for text in ["tcp", "udp", "http", "http2", "grpc"] {
        assert_eq!(text.parse::<AppProtocol>().unwrap().to_string(), text);
    }
    for text in ["none", "tcp", "http:/", "http:/healthz?deep=1", "grpc", "grpc:shop.Orders"] {
        assert_eq!(text.parse::<HealthCheck>().unwrap().to_string(), text);
    }
}

#[test]
fn what_is_wrong_is_refused() {
    for bad in ["", "TCP", "sctp", "tcp "] {
        assert!(bad.parse::<AppProtocol>().is_err(), "{bad:?}");
    }
    for bad in ["", "http", "http:", "http:healthz", "http:/a b", "http:/\r\nHost:x", "grpc:", "tcp:80", "exec:/bin/x"]
    {
        assert!(bad.parse::<HealthCheck>().is_err(), "{bad:?}");
    }
    assert!(format!("http:/{}", "a".repeat(255)).parse::<HealthCheck>().is_err());
    for bad in ["0", "101", "-1", "+5", "1.5", "", "256", " 1"] {
        assert!(bad.parse::<Weight>().is_err(), "{bad:?}");
    }
    assert_eq!("100".parse::<Weight>().unwrap().get(), 100);
}

#[test]
fn only_udp_is_udp() {
    assert_eq!(AppProtocol::Udp.l4(), L4::Udp);
    assert_eq!(AppProtocol::Grpc.l4(), L4::Tcp);
    assert_eq!(L4::from_number(17), Some(L4::Udp));
    assert_eq!(L4::from_number(1), None);
}
