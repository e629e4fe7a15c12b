//! Names after the rules of ECS Service Connect (API reference, `ServiceConnectService` and
//! `ServiceConnectClientAlias`): lowercase letters, digits, `_` and `-`, in alias names also `.`; never a leading `-`.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;

/// Longest discovery name, in bytes (`portMappings[].name`).
pub const MAX_DISCOVERY_NAME: usize = 64;
/// Longest alias or namespace name, in bytes (`clientAliases[].dnsName`).
pub const MAX_ALIAS_NAME: usize = 127;
/// The most aliases that one label or rule may give a service.
pub const MAX_ALIASES: usize = 64;

/// Why a text is not a name, port or alias.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was written.
    #[error("{what} is empty; write 1 to {max} characters")]
    Empty {
        /// Which kind of name.
        what: &'static str,
        /// Its greatest length.
        max: usize,
    },
    /// More bytes than the kind of name allows.
    #[error("{what} has {length} characters; at most {max} are allowed")]
    TooLong {
        /// Which kind of name.
        what: &'static str,
        /// How many bytes were written.
        length: usize,
        /// Its greatest length.
        max: usize,
    },
    /// A character outside the allowed set.
    #[error("{what} contains {found:?}; use lowercase letters, digits, {also}")]
    Character {
        /// Which kind of name.
        what: &'static str,
        /// The first character that is not allowed.
        found: char,
        /// What is allowed beside letters and digits.
        also: &'static str,
    },
    /// A leading hyphen, or an empty label between dots.
    #[error("{what} {text:?} {problem}")]
    Shape {
        /// Which kind of name.
        what: &'static str,
        /// The name as written.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Not a port.
    #[error("{0:?} is not a port; write a number from 1 to 65535")]
    Port(String),
    /// An alias without a port.
    #[error("alias {0:?} has no port; write name:port")]
    NoPort(String),
}

fn check(what: &'static str, text: &str, max: usize, dots: bool) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { what, max });
    }
    if text.len() > max {
        return Err(NameError::TooLong { what, length: text.len(), max });
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-' || (dots && c == '.');
    if let Some(found) = text.chars().find(|&c| !allowed(c)) {
        let also = if dots { "'_', '-' and '.'" } else { "'_' and '-'" };
        return Err(NameError::Character { what, found, also });
    }
    let problem = |problem| Err(NameError::Shape { what, text: text.to_owned(), problem });
    if text.starts_with('-') {
        return problem("begins with '-'; begin with a letter, a digit or '_'");
    }
    if dots && text.split('.').any(|label| label.is_empty() || label.len() > 63) {
        return problem("has an empty label or one over 63 characters; no client could resolve it");
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $max:expr, $dots:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check($what, text, $max, $dots)?;
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A namespace: the scope in which discovery names and aliases are unique (a Cloud Map namespace's name).
    Namespace, "namespace", MAX_ALIAS_NAME, true
);
impl Default for Namespace {
    /// The namespace of a node whose configuration names none.
    fn default() -> Self {
        Self("default".into())
    }
}

name!(
    /// A service's name within its namespace. It cannot be dialled by itself; its aliases can.
    DiscoveryName, "discovery name", MAX_DISCOVERY_NAME, false
);
name!(
    /// The DNS name of a client alias, lowercase and without the final dot.
    AliasName, "alias name", MAX_ALIAS_NAME, true
);

/// A service: `namespace/discovery-name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId {
    /// The namespace it is published in.
    pub namespace: Namespace,
    /// Its discovery name.
    pub name: DiscoveryName,
}

impl ServiceId {
    /// Sorts before every service: the lower bound of a range over what is kept by service. Allocates nothing.
    #[must_use]
    pub fn first() -> Self {
        Self { namespace: Namespace(Arc::default()), name: DiscoveryName(Arc::default()) }
    }

    /// The alias name every service answers to: `<discovery name>.<namespace>`.
    ///
    /// # Errors
    /// When both together exceed [`MAX_ALIAS_NAME`].
    pub fn qualified(&self) -> Result<AliasName, NameError> {
        format!("{}.{}", self.name, self.namespace).parse()
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What clients dial: `name:port`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Alias {
    /// The DNS name.
    pub name: AliasName,
    /// The port behind that name.
    pub port: NonZeroU16,
}

impl FromStr for Alias {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (name, port) = text.rsplit_once(':').ok_or_else(|| NameError::NoPort(text.to_owned()))?;
        Ok(Self { name: name.parse()?, port: parse_port(port)? })
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.port)
    }
}

/// Reads a port number: decimal digits only, 1 to 65535.
///
/// # Errors
/// [`NameError::Port`] for anything else, a sign or blanks included.
pub fn parse_port(text: &str) -> Result<NonZeroU16, NameError> {
    if text.bytes().all(|b| b.is_ascii_digit())
        && let Ok(port) = text.parse()
    {
        return Ok(port);
    }
    Err(NameError::Port(text.to_owned()))
}

#[cfg(test)]
mod tests;
