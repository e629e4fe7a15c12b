//! Which aliases a label may claim. Pure.
//!
//! Whoever deploys a task writes its labels, and every container of the node resolves its names by them. So a label may
//! name what nobody else means (one label, or below its own namespace), and anything else only where the operator says
//! so. No query decides: what a name stands for elsewhere may change, and whoever answers may be hostile.

use crate::config::Glob;
use crate::model::{AliasName, Namespace};

/// Names that no label claims, whatever the operator allows: the instance's own, and the APIs that credentials go to.
const NEVER: [&str; 3] = ["localhost", "amazonaws.com", "amazonaws.com.cn"];

/// Why a label may not claim a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum AliasRefusal {
    /// It means something on every host.
    #[error("alias {0} is nobody's to claim; choose another name")]
    Never(AliasName),
    /// The host's own hosts file has it.
    #[error("alias {0} is in the host's own hosts file; choose another name")]
    OfHost(AliasName),
    /// It lies outside the namespace.
    #[error(
        "alias {name} lies outside namespace {namespace}; write one label, a name below it, or have the operator add it to mesh.alias_allow"
    )]
    Outside {
        /// The name.
        name: AliasName,
        /// The namespace that the service is published in.
        namespace: Namespace,
    },
}

/// Whether a label may claim this name for a service of a namespace. `of_host`: the names in the host's hosts file.
pub(super) fn admit(
    name: &AliasName,
    namespace: &Namespace,
    allow: &[Glob],
    of_host: &[Box<str>],
) -> Result<(), AliasRefusal> {
    let text = name.as_str();
    if NEVER.iter().any(|never| is_below(text, never) || text == *never) {
        return Err(AliasRefusal::Never(name.clone()));
    }
    if of_host.iter().any(|known| known.eq_ignore_ascii_case(text)) {
        return Err(AliasRefusal::OfHost(name.clone()));
    }
    let admitted =
        !text.contains('.') || is_below(text, namespace.as_str()) || allow.iter().any(|glob| glob.matches(text));
    admitted.then_some(()).ok_or_else(|| AliasRefusal::Outside { name: name.clone(), namespace: namespace.clone() })
}

fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(name: &str, namespace: &str) -> Result<(), String> {
        let allow = [Glob::new("*.internal.example.com"), Glob::new("s3.us-west-2.amazonaws.com")];
        let of_host = ["Ip-10-0-0-1".into(), "db.corp".into()];
        admit(&name.parse().unwrap(), &namespace.parse().unwrap(), &allow, &of_host).map_err(|why| why.to_string())
    }

    #[test]
    fn a_label_may_claim_what_nobody_else_means() {
        for name in ["orders", "orders.prod", "a.b.prod", "db.internal.example.com"] {
            assert_eq!(admitted(name, "prod"), Ok(()), "{name}");
        }
        assert_eq!(admitted("orders.prod.local", "prod.local"), Ok(()));
    }

    #[test]
    fn everything_else_is_refused_and_named() {
        for (name, word) in [
            ("ecs.us-west-2.amazonaws.com", "nobody's"),
            ("s3.us-west-2.amazonaws.com", "nobody's"),
            ("amazonaws.com", "nobody's"),
            ("ecs.cn-north-1.amazonaws.com.cn", "nobody's"),
            ("localhost", "nobody's"),
            ("x.localhost", "nobody's"),
            ("ip-10-0-0-1", "hosts file"),
            ("db.corp", "hosts file"),
            ("example.com", "mesh.alias_allow"),
            ("internal.example.com", "mesh.alias_allow"),
            ("orders.shared", "mesh.alias_allow"),
            ("xprod.local", "mesh.alias_allow"),
        ] {
            let refusal = admitted(name, "prod").unwrap_err();
            assert!(refusal.contains(word) && refusal.contains(name), "{name}: {refusal}");
        }
        assert!(admitted("evilprod.local", "prod.local").is_err() && admitted("prod.local", "prod.local").is_err());
    }
}
