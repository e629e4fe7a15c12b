use std::num::NonZeroU16;

use super::*;
use crate::model::{Frontend, L4};

#[test]
fn open_connections_are_those_of_the_service_that_serves_or_has_the_vip() {
    let id = |name: &str| ServiceId { namespace: "prod".parse().unwrap(), name: name.parse().unwrap() };
    let frontend =
        |last, port| Frontend { vip: [240, 240, 0, last].into(), l4: L4::Tcp, port: NonZeroU16::new(port).unwrap() };
    let mut desired = Desired::default();
    desired.served.insert(frontend(7, 80), id("orders"));
    desired.served.insert(frontend(7, 81), id("guest"));
    desired.holders.insert(frontend(7, 0x1f90).vip, id("orders"));
    let open = [(frontend(7, 80), 2), (frontend(7, 81), 3), (frontend(7, 82), 4), (frontend(9, 80), 5)];
    let services = by_service(&open.into(), &desired);
    assert_eq!(services, [(id("guest"), 3), (id("orders"), 6)].into(), "nobody's are nobody's");
}
