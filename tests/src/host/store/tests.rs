use serde_json::json;

use super::*;

fn tree(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn store() -> Store {
    Store::new(tree(json!({
        "motd": "Welcome",
        "updates": {"seed": 1409, "version-lock": "latest"},
        "ecs": {"cluster": "prod", "instance-attributes": {"mesh.meshdog": "v1"}},
        "host-containers": {"admin": {"enabled": false}},
    })))
}

#[test]
fn keys() {
    let bad = |name: &str, why: &str| {
        let text = format!("Unable to make data key '{name}': Key name '{name}' has invalid format: {why}");
        Err(Refusal::Bad(text))
    };
    let directory = |name: &str| {
        let text =
            format!("Data store error during get_key: Reading key '{name}' failed: Is a directory (os error 21)");
        Err(Refusal::Broken(text))
    };
    let cases = [
        ("settings.motd", Ok(json!({"motd": "Welcome"}))),
        ("settings.motd,settings.updates.seed", Ok(json!({"motd": "Welcome", "updates": {"seed": 1409}}))),
        ("settings.ecs.cluster,settings.nosuch", Ok(json!({"ecs": {"cluster": "prod"}}))),
        ("settings.nosuch.cluster", Ok(json!({}))),
        ("settings.nosuch.motd", Ok(json!({}))),
        (
            r#"settings.ecs.instance-attributes."mesh.meshdog""#,
            Ok(json!({"ecs": {"instance-attributes": {"mesh.meshdog": "v1"}}})),
        ),
        ("settings.host-containers", directory("settings.host-containers")),
        ("settings", directory("settings")),
        ("motd", Ok(json!({}))),
        ("settings/motd", Ok(json!({}))),
        ("", Err(Refusal::Bad("Input 'keys' cannot be empty".into()))),
        (",", bad("", "cannot be empty")),
        ("settings.motd,", bad("", "cannot be empty")),
        ("settings.", bad("settings.", "ends with separator")),
        (".motd", bad(".motd", "empty key segment")),
        ("settings..motd", bad("settings..motd", "empty key segment")),
        ("settings.mo td", bad("settings.mo td", "invalid character in key: ' '")),
    ];
    for (names, expected) in cases {
        assert_eq!(store().by_keys(names), expected, "{names}");
    }
}

#[test]
fn prefixes() {
    let all = store().all().unwrap();
    let cases = [
        ("motd", json!({"motd": "Welcome"})),
        ("settings.motd", json!({"motd": "Welcome"})),
        ("settings", all.clone()),
        ("settings.", all),
        ("host", json!({"host-containers": {"admin": {"enabled": false}}})),
        ("updates.ver", json!({"updates": {"version-lock": "latest"}})),
        ("nosuch", json!({})),
        (".", json!({})),
        ("os", json!({})),
    ];
    for (prefix, expected) in cases {
        assert_eq!(store().by_prefix(prefix).unwrap(), expected, "{prefix}");
    }
    assert_eq!(store().by_prefix(""), Err(Refusal::Bad("Input 'prefix' cannot be empty".into())));
}

#[test]
fn an_identical_value_commits_and_is_listed() {
    let mut store = store();
    store.stage("same", tree(json!({"motd": "Welcome"}))).unwrap();
    assert_eq!(store.commit("same").unwrap(), ["settings.motd"]);
    assert_eq!(store.commit("same"), Err(Refusal::NothingPending));
}

#[test]
fn transactions_merge_and_stay_apart() {
    let mut store = store();
    store.stage("a", tree(json!({"motd": "a"}))).unwrap();
    store.stage("a", tree(json!({"ecs": {"instance-attributes": {"x.y": "z"}}}))).unwrap();
    store.stage("b", tree(json!({"motd": "b"}))).unwrap();
    store.stage("c", Map::new()).unwrap();
    assert_eq!(store.list(), ["a", "b"]);
    assert_eq!(store.by_keys("settings.motd").unwrap(), json!({"motd": "Welcome"}), "pending is not live");
    let mut names = store.commit("a").unwrap();
    names.sort();
    assert_eq!(names, [r#"settings.ecs.instance-attributes."x.y""#, "settings.motd"]);
    assert_eq!(store.by_keys("settings.ecs.cluster").unwrap(), json!({"ecs": {"cluster": "prod"}}), "merged");
    assert_eq!(store.delete("b"), ["settings.motd"]);
    assert_eq!(store.delete("b"), [""; 0]);
}

#[test]
fn the_empty_name_deletes_everything() {
    let mut store = store();
    store.stage("one", tree(json!({"motd": "1"}))).unwrap();
    store.stage("", tree(json!({"ecs": {"cluster": "x"}}))).unwrap();
    assert_eq!(store.list(), ["settings", "one"]);
    assert_eq!(store.delete(""), ["settings.ecs.cluster"]);
    assert!(store.list().is_empty());
    assert_eq!(store.commit("one"), Err(Refusal::NothingPending));
}

#[test]
fn a_name_too_long_for_the_disk() {
    let refused = store().stage(&"n".repeat(300), tree(json!({"motd": "1"}))).unwrap_err();
    let Refusal::Broken(text) = refused else { panic!("{refused:?}") };
    assert!(text.ends_with("/settings': File name too long (os error 36)"), "{text}");
}

#[test]
fn nothing_at_all_before_the_first_commit() {
    let mut store = Store::new(Map::new());
    assert_eq!(store.all(), Err(Refusal::Missing("Found no 'settings' in datastore".into())));
    assert_eq!(store.by_prefix("motd").unwrap(), json!({}));
    store.stage("bottlerocket-launch", tree(json!({"motd": "x"}))).unwrap();
    store.commit("bottlerocket-launch").unwrap();
    assert_eq!(store.all().unwrap(), json!({"motd": "x"}));
}
