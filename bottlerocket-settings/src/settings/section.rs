//! How a section of the settings is read and written without losing anything.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// What a model does not know, or knows under another type, as the host sent it. Its `Debug` shows the names alone,
/// since the values may be secrets (registry credentials, keys).
#[derive(Clone, Default, PartialEq)]
pub struct Rest(pub Map<String, Value>);

impl Rest {
    /// Takes the value under `key` out if it reads as a `T`; leaves it in place otherwise. A null counts as absent, as
    /// it does for the host (core-kit `sources/api/datastore`, which never stores one).
    pub(crate) fn take<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let value = self.0.remove(key)?;
        if value.is_null() {
            return None;
        }
        match T::deserialize(&value) {
            Ok(known) => Some(known),
            Err(_) => {
                self.0.insert(key.to_owned(), value);
                None
            }
        }
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Declares a section: every field optional; a value of an unexpected type stays in `rest`, as unknown fields do, and
/// does not make the others unreadable; what was read is written back whole.
macro_rules! section {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty = $key:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: Option<$type>,)+
            /// What this model does not know, or knows under another type. Written back as it came.
            pub rest: $crate::settings::Rest,
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let mut rest = $crate::settings::Rest(serde::Deserialize::deserialize(deserializer)?);
                Ok(Self { $($field: rest.take($key),)+ rest })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = serializer.serialize_map(None)?;
                $(if let Some(value) = &self.$field {
                    map.serialize_entry($key, value)?;
                })+
                for (key, value) in &self.rest.0 {
                    let replaced = false $(|| (key == $key && self.$field.is_some()))+;
                    if !replaced {
                        map.serialize_entry(key, value)?;
                    }
                }
                map.end()
            }
        }
    };
}

pub(crate) use section;
