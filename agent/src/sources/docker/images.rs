//! Labels of ours that images have, by the image's id, which is a digest of the image: they never change. Pure, bounded.

use std::collections::HashMap;
use std::sync::Arc;

use imbl::OrdMap;

use crate::model::label::PREFIX;

/// The most images whose labels are kept.
const MAX_IMAGES: usize = 256;
/// The most bytes of one image's labels that are kept; more are asked for each time.
const MAX_BYTES: usize = 32 << 10;

/// Labels of one image.
pub(super) type ImageLabels = Arc<HashMap<String, String>>;

/// What is known of images. A copy costs a pointer.
#[derive(Debug, Clone, Default)]
pub(super) struct Images(OrdMap<Arc<str>, ImageLabels>);

impl Images {
    /// The labels of an image, if they are known.
    pub(super) fn get(&self, id: &str) -> Option<ImageLabels> {
        self.0.get(id).cloned()
    }

    /// Takes note of an image's labels.
    pub(super) fn learn(&mut self, id: Arc<str>, labels: ImageLabels) {
        let bytes: usize = labels.iter().map(|(label, value)| label.len() + value.len()).sum();
        if bytes > MAX_BYTES {
            return;
        }
        if self.0.len() >= MAX_IMAGES {
            // So many images are seldom on one node; each is asked for once more.
            self.0.clear();
        }
        self.0.insert(id, labels);
    }
}

/// Those of an image's labels that matter.
pub(super) fn of_ours(mut labels: HashMap<String, String>) -> ImageLabels {
    labels.retain(|label, _| label.starts_with(PREFIX));
    Arc::new(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(n: usize, bytes: usize) -> ImageLabels {
        let all = [(format!("meshdog.s{n}.port"), "x".repeat(bytes)), ("other".to_owned(), "x".repeat(1 << 20))];
        of_ours(all.into())
    }

    #[test]
    fn only_labels_of_ours_are_kept_and_only_so_many() {
        let mut images = Images::default();
        for n in 0..3 * MAX_IMAGES {
            let id: Arc<str> = format!("sha256:{n}").into();
            images.learn(Arc::clone(&id), labels(n, 2));
            assert_eq!(images.get(&id).unwrap().len(), 1);
        }
        assert!(images.0.len() <= MAX_IMAGES);
        images.learn("sha256:large".into(), labels(0, MAX_BYTES));
        assert!(images.get("sha256:large").is_none());
    }
}
