//! As much of DNS messages (RFC 1035) as a question of one name and its answer by addresses take. Written here, not
//! taken from the library that the agent uses, so that the agent is tested by another's reading of the format.

use std::net::Ipv4Addr;

/// Response code of a name that does not exist.
pub const NXDOMAIN: u8 = 3;

/// A question for a name: class IN, recursion desired.
#[must_use]
pub fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut message = Vec::with_capacity(name.len() + 18);
    for word in [id, 0x0100, 1, 0, 0, 0] {
        message.extend(word.to_be_bytes());
    }
    for label in name.trim_end_matches('.').split('.') {
        message.push(u8::try_from(label.len()).unwrap_or(63));
        message.extend(label.bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend(1u16.to_be_bytes());
    message
}

/// A message's question: its name, its type, and where it ends.
#[must_use]
pub fn question(message: &[u8]) -> Option<(String, u16, usize)> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        if length == 0 {
            break;
        }
        let label = message.get(at + 1..at + 1 + length)?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += 1 + length;
    }
    Some((labels.join("."), u16_at(message, at + 1)?, at + 5))
}

/// The answer to a message: an error code, or addresses.
#[must_use]
pub fn answer(message: &[u8], rcode: u8, addresses: &[Ipv4Addr]) -> Option<Vec<u8>> {
    let (_, _, end) = question(message)?;
    let mut reply = message.get(..end)?.to_vec();
    let flags = 0x8180 | u16::from(rcode);
    for (at, word) in [(2, flags), (4, 1), (6, u16::try_from(addresses.len()).ok()?), (8, 0), (10, 0)] {
        reply.get_mut(at..at + 2)?.copy_from_slice(&word.to_be_bytes());
    }
    for address in addresses {
        // A pointer to the question's name; type A, class IN, a minute, four bytes.
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend(address.octets());
    }
    Some(reply)
}

/// A reply's id, response code and IPv4 addresses.
#[must_use]
pub fn reply(message: &[u8]) -> Option<(u16, u8, Vec<Ipv4Addr>)> {
    let (_, _, mut at) = question(message)?;
    let mut addresses = Vec::new();
    for _ in 0..u16_at(message, 6)? {
        // The owner's name: labels, ended by the root or by a pointer.
        loop {
            match *message.get(at)? {
                0 => break at += 1,
                pointer if pointer >= 0xc0 => break at += 2,
                length => at += 1 + usize::from(length),
            }
        }
        let (kind, length) = (u16_at(message, at)?, usize::from(u16_at(message, at + 8)?));
        let data = message.get(at + 10..at + 10 + length)?;
        if kind == 1
            && let Ok(octets) = <[u8; 4]>::try_from(data)
        {
            addresses.push(octets.into());
        }
        at += 10 + length;
    }
    Some((u16_at(message, 0)?, message.get(3)? & 0x0f, addresses))
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    let bytes = message.get(at..at + 2)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests;
