use std::net::SocketAddr;
use std::num::NonZeroU16;

use super::*;
use crate::model::{Counters, Frontend, ServiceId, TcpState};

fn orders() -> ServiceId {
    ServiceId { namespace: "prod".parse().unwrap(), name: "orders".parse().unwrap() }
}

fn flow(client: u16, port: u16) -> Flow {
    Flow {
        client: SocketAddr::new([172, 17, 0, 9].into(), client),
        frontend: Frontend { vip: [198, 19, 0, 7].into(), l4: L4::Tcp, port: NonZeroU16::new(port).unwrap() },
        endpoint: "172.17.0.3:8080".parse().unwrap(),
    }
}

fn end(replied: bool) -> FlowKind {
    let counted = |bytes| Some(Counters { packets: 1, bytes });
    FlowKind::Destroyed { replied, tcp: Some(TcpState::CLOSE), sent: counted(100), received: counted(1000) }
}

#[test]
fn connections_are_counted_where_they_belong() {
    let mut desired = Desired::default();
    desired.served.insert(flow(1, 80).frontend, orders());
    let counters = TrafficCounters::default();
    let mut traffic = Traffic::new(watch::channel(Some(Arc::new(desired))).1, counters.clone());

    traffic.observe(Observation::Flow(&FlowEvent { kind: FlowKind::New, flow: flow(1, 80) }));
    traffic.observe(Observation::Flow(&FlowEvent { kind: FlowKind::New, flow: flow(2, 80) }));
    traffic.observe(Observation::Flow(&FlowEvent { kind: FlowKind::New, flow: flow(3, 81) }));
    let counts = counters.of(&orders());
    assert_eq!(counts.connections.get(), 2);

    traffic.observe(Observation::Flow(&FlowEvent { kind: end(true), flow: flow(1, 80) }));
    traffic.observe(Observation::Flow(&FlowEvent { kind: end(false), flow: flow(2, 80) }));
    // Begun before we looked: its bytes count.
    traffic.observe(Observation::Flow(&FlowEvent { kind: end(true), flow: flow(9, 80) }));
    assert_eq!((counts.connections.get(), counts.connect_failures.get()), (2, 1));
    traffic.observe(Observation::Ejection(&flow(9, 80)));
    assert_eq!(counts.ejections.get(), 1);
    assert_eq!((counts.request_bytes.get(), counts.response_bytes.get()), (300, 3000));
}
