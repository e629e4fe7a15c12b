use super::*;

fn labels(label: &str, value: &str) -> BTreeMap<String, String> {
    [(label.to_owned(), value.to_owned())].into()
}

#[test]
fn a_switch_is_on_unless_it_says_false() {
    for (value, expected) in [("true", Some(true)), ("false", Some(false)), ("no", None), ("", None)] {
        assert_eq!(switch(&labels(DNS, value), DNS).ok(), expected, "{value:?}");
    }
    assert_eq!(switch(&BTreeMap::new(), DNS), Ok(true));
}

#[test]
fn what_is_dialled_is_named_with_or_without_its_namespace() {
    let dial = |text: &str| -> Dial { text.parse().unwrap() };
    assert_eq!(dialled(&labels(DIAL, "b, shared/a ,b")), Ok(vec![dial("b"), dial("shared/a")]));
    assert_eq!(dial("shared/a").namespace, Some("shared".parse().unwrap()));
    assert_eq!(dialled(&BTreeMap::new()), Ok(vec![]));
    let named = |count: usize| dialled(&labels(DIAL, &vec!["a"; count].join(",")));
    assert_eq!(named(MAX_DIAL).unwrap().len(), 1);
    assert!(named(MAX_DIAL + 1).unwrap_err().contains("more than 64"));
    for wrong in ["", "a,", "a.b", "A", "a/b/c", "/a", "a/"] {
        assert!(dialled(&labels(DIAL, wrong)).is_err(), "{wrong:?}");
    }
}
