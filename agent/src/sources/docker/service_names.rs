//! Which services labels name, without judging them: for people who ask what a container was. Pure and bounded.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::label::{OF_CONTAINERS, PREFIX};

/// The most services of one container that are kept.
const MAX: usize = 32;
/// The longest name that is kept, in bytes; DNS's for a whole name.
const MAX_LENGTH: usize = 255;

/// Services by name, each with its namespace where a label says it.
#[derive(Debug, Default)]
pub(super) struct ServiceNames(BTreeMap<Box<str>, Box<str>>);

impl ServiceNames {
    /// Takes note of one label.
    pub(super) fn take(&mut self, label: &str, value: &str) {
        let Some((name, key)) = label.strip_prefix(PREFIX).and_then(|rest| rest.split_once('.')) else { return };
        let of_container = OF_CONTAINERS.iter().any(|known| known.strip_prefix(PREFIX) == Some(name));
        let is_known = self.0.contains_key(name);
        if of_container || name.len() > MAX_LENGTH || (self.0.len() == MAX && !is_known) {
            return;
        }
        let namespace = self.0.entry(name.into()).or_default();
        if key == "namespace" && value.len() <= MAX_LENGTH {
            *namespace = value.into();
        }
    }

    /// `[namespace/]name` of each, in the order of their names.
    pub(super) fn sorted(self) -> Arc<[Box<str>]> {
        let whole = |(name, namespace): (Box<str>, Box<str>)| match &*namespace {
            "" => name,
            namespace => format!("{namespace}/{name}").into(),
        };
        self.0.into_iter().map(whole).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_in_number_and_length() {
        let mut names = ServiceNames::default();
        for n in 0..5000 {
            names.take(&format!("meshdog.service-{n:04}.port"), "80");
        }
        names.take("meshdog.service-0001.namespace", "shared");
        names.take(&format!("meshdog.{}.port", "x".repeat(256)), "80");
        names.take("meshdog.enable.port", "80");
        names.take("meshdog.dns", "false");
        let names = names.sorted();
        assert_eq!(names.len(), MAX);
        assert_eq!((&*names[0], &*names[1]), ("service-0000", "shared/service-0001"));
    }
}
