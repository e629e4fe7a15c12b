use std::num::NonZeroU16;

use super::*;
use crate::model::Frontend;

fn flow(l4: L4) -> Flow {
    Flow {
        client: "172.17.0.9:40000".parse().unwrap(),
        frontend: Frontend { vip: [198, 19, 0, 7].into(), l4, port: NonZeroU16::new(80).unwrap() },
        endpoint: "172.17.0.3:8080".parse().unwrap(),
    }
}

fn destroyed(replied: bool, tcp: Option<TcpState>) -> FlowKind {
    FlowKind::Destroyed { replied, tcp, sent: None, received: None }
}

#[test]
fn only_an_unanswered_end_of_a_connection_is_a_failure() {
    let tcp = flow(L4::Tcp);
    let of = |kind, flow| failure(&FlowEvent { kind, flow });
    assert_eq!(of(destroyed(false, Some(TcpState::CLOSE)), tcp), Some(ConnectFailure::Refused));
    assert_eq!(of(destroyed(false, Some(TcpState::SYN_SENT)), tcp), Some(ConnectFailure::Unanswered));
    assert_eq!(of(destroyed(true, Some(TcpState::CLOSE)), tcp), None);
    assert_eq!(of(FlowKind::New, tcp), None);
    assert_eq!(of(destroyed(false, None), flow(L4::Udp)), None);
}
