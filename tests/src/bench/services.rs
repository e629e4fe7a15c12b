//! Many services, in each of the shapes that they are programmed in.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::num::NonZeroU16;

use anyhow::{Context as _, Result, bail};
use meshdog::model::{Frontend, IfName, L4, Ruleset, Slots, VipCidr};

use super::world::{BRIDGE, ENDPOINTS};

/// Every service's port.
const PORT: NonZeroU16 = NonZeroU16::MIN.saturating_add(79);
/// The mark that asks for a translated source, kube-proxy's own.
const MASQUERADE: &str = "0x4000/0x4000";

/// So many services, the last of them with the world's endpoints behind them, all others with endpoints that nobody
/// dials.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Services {
    count: u32,
    live: u32,
}

impl Services {
    /// How many of the services are answered.
    pub(crate) const LIVE: u32 = 4;

    pub(crate) fn new(count: u32) -> Self {
        Self { count, live: Self::LIVE.min(count) }
    }

    /// The range that VIPs are taken from, the agent's default.
    pub(crate) fn vip_cidr() -> Result<VipCidr> {
        Ok("240.240.0.0/16".parse()?)
    }

    fn each(self) -> Result<impl Iterator<Item = (SocketAddrV4, [SocketAddrV4; 4])>> {
        let cidr = Self::vip_cidr()?;
        let IpAddr::V4(first) = cidr.nth(0) else { bail!("{cidr} is not IPv4") };
        Ok((0..self.count).map(move |service| {
            let vip = SocketAddrV4::new(Ipv4Addr::from(u32::from(first) + service), PORT.get());
            let endpoints = if service >= self.count - self.live { ENDPOINTS } else { idle_endpoints(service) };
            (vip, endpoints)
        }))
    }

    /// Where to dial: the answered services, the last of all first.
    pub(crate) fn targets(self) -> Result<Vec<SocketAddrV4>> {
        let mut vips: Vec<_> = self.each()?.map(|(vip, _)| vip).skip((self.count - self.live) as usize).collect();
        vips.reverse();
        Ok(vips)
    }

    /// As the agent's data plane takes them.
    pub(crate) fn ruleset(self) -> Result<Ruleset> {
        let frontend = |vip: SocketAddrV4| Frontend { vip: IpAddr::V4(*vip.ip()), l4: L4::Tcp, port: PORT };
        Ok(Ruleset {
            frontends: self
                .each()?
                .map(|(vip, endpoints)| (frontend(vip), Slots::from(endpoints.map(SocketAddr::V4))))
                .collect(),
            locals: ENDPOINTS.iter().map(|endpoint| IpAddr::V4(*endpoint.ip())).collect(),
            bridges: [IfName::new(BRIDGE).context("the bridge's name")?].into_iter().collect(),
            ..Ruleset::default()
        })
    }

    /// As one nftables rule that takes the whole range for one service.
    pub(crate) fn one_rule() -> Result<String> {
        let range = Self::vip_cidr()?;
        let draw: Vec<_> = ENDPOINTS.iter().enumerate().map(|(nth, at)| format!("{nth} : {}", at.ip())).collect();
        Ok(format!(
            "table ip byhand {{
                chain prerouting {{
                    type nat hook prerouting priority dstnat - 1;
                    ip daddr {range} dnat to numgen random mod {} map {{ {} }}
                }}
                chain postrouting {{
                    type nat hook postrouting priority srcnat - 1;
                    iifname {BRIDGE} oifname {BRIDGE} ct original ip daddr {range} masquerade
                }}
            }}",
            draw.len(),
            draw.join(", ")
        ))
    }

    /// As kube-proxy writes them in its iptables mode: a list of all services, a chain for each of them that draws an
    /// endpoint, and a chain for each endpoint. Replies pass the host because every source is translated (kube-proxy's
    /// `masqueradeAll`), as they must where the bridge does not show its packets to iptables.
    pub(crate) fn iptables(self) -> Result<String> {
        let mut chains = String::from("*nat\n:SERVICES - [0:0]\n:MARK-MASQ - [0:0]\n:POSTROUTE - [0:0]\n");
        let mut rules = format!(
            "-A PREROUTING -m comment --comment \"service portals\" -j SERVICES\n\
             -A OUTPUT -m comment --comment \"service portals\" -j SERVICES\n\
             -A POSTROUTING -m comment --comment \"translated sources\" -j POSTROUTE\n\
             -A POSTROUTE -m mark ! --mark {MASQUERADE} -j RETURN\n\
             -A POSTROUTE -j MARK --xor-mark 0x4000\n\
             -A POSTROUTE -j MASQUERADE --random-fully\n\
             -A MARK-MASQ -j MARK --or-mark 0x4000\n"
        );
        for (service, (vip, endpoints)) in self.each()?.enumerate() {
            writeln!(chains, ":SVC-{service} - [0:0]")?;
            writeln!(
                rules,
                "-A SERVICES -d {}/32 -p tcp -m comment --comment \"bench/service-{service}\" -m tcp --dport {} -j SVC-{service}\n\
                 -A SVC-{service} -m comment --comment \"bench/service-{service}\" -j MARK-MASQ",
                vip.ip(),
                vip.port()
            )?;
            for (nth, endpoint) in endpoints.iter().enumerate() {
                writeln!(chains, ":SEP-{service}-{nth} - [0:0]")?;
                let left = endpoints.len() - nth;
                let draw = match left {
                    1 => String::new(),
                    left => format!("-m statistic --mode random --probability {:.10} ", 1.0 / left as f64),
                };
                writeln!(
                    rules,
                    "-A SVC-{service} -m comment --comment \"bench/service-{service} -> {endpoint}\" {draw}-j SEP-{service}-{nth}\n\
                     -A SEP-{service}-{nth} -s {}/32 -m comment --comment \"bench/service-{service}\" -j MARK-MASQ\n\
                     -A SEP-{service}-{nth} -p tcp -m comment --comment \"bench/service-{service}\" -m tcp -j DNAT --to-destination {endpoint}",
                    endpoint.ip()
                )?;
            }
        }
        Ok(chains + &rules + "COMMIT\n")
    }

    /// What kube-proxy writes when the last service loses its fourth endpoint: that service's chain anew, nothing else.
    pub(crate) fn iptables_change(self) -> String {
        let service = self.count - 1;
        let mut text = format!("*nat\n:SVC-{service} - [0:0]\n");
        for nth in 0..3 {
            let draw = [
                " -m statistic --mode random --probability 0.3333333333",
                " -m statistic --mode random --probability 0.5",
                "",
            ];
            let draw = draw.get(nth).copied().unwrap_or_default();
            text += &format!("-A SVC-{service}{draw} -j SEP-{service}-{nth}\n");
        }
        text + "COMMIT\n"
    }
}

/// Endpoints of a service that nobody dials: four of its own in 10/8.
fn idle_endpoints(service: u32) -> [SocketAddrV4; 4] {
    let first = u32::from(Ipv4Addr::new(10, 0, 0, 0)) + (service + 1) * 4;
    [0, 1, 2, 3].map(|nth| SocketAddrV4::new(Ipv4Addr::from(first + nth), 8080))
}

#[cfg(test)]
mod tests;
