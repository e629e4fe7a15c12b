//! What every look at the host comes to.

use std::time::Duration;

use serde::Serialize;

/// How long a socket has to accept.
pub(super) const CONNECT: Duration = Duration::from_secs(2);

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct DoctorCheck {
    /// What.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// Whether the mesh cannot do without.
    pub needed: bool,
    /// What was found.
    pub detail: String,
    /// What to change; only where it is not `ok`.
    pub advice: Option<String>,
}

impl DoctorCheck {
    pub(super) fn new(name: &str, found: Result<String, String>, advice: &str) -> Self {
        let advice = found.is_err().then(|| advice.to_owned());
        let (ok, detail) = match found {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        Self { name: name.to_owned(), ok, needed: true, detail, advice }
    }

    /// The mesh works without, if less well.
    pub(super) fn wanted(self) -> Self {
        Self { needed: false, ..self }
    }
}
