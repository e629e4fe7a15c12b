use super::*;
use crate::model::DualStack;

fn desired(name: &str) -> Arc<Desired> {
    let names = [(name.parse().unwrap(), DualStack::V4([198, 19, 0, 7].into()))].into_iter().collect();
    Arc::new(Desired { rulesets: [(View::Node, Arc::default())].into(), names, ..Desired::default() })
}

#[tokio::test]
async fn a_name_is_known_once_its_vip_is_programmed() {
    let (first, second) = (desired("first"), desired("second"));
    let (desired, desired_in) = watch::channel(Some(Arc::clone(&first)));
    let (dataplane, dataplane_in) = watch::channel(DataplaneState::default());
    let (names, mut names_out) = watch::channel(None);
    let task = tokio::spawn(follow(desired_in, dataplane_in, names));
    let known = |served: &Option<Served>, name: &str| {
        served
            .as_ref()
            .is_some_and(|served| served.names.contains_key(&name.parse::<crate::model::AliasName>().unwrap()))
    };

    dataplane.send_modify(|state| state.change(|state| state.applied = first.ruleset(View::Node).cloned()));
    names_out.wait_for(|names| known(names, "first")).await.unwrap();

    desired.send_replace(Some(Arc::clone(&second)));
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(known(&names_out.borrow(), "first"));

    dataplane.send_modify(|state| state.change(|state| state.applied = second.ruleset(View::Node).cloned()));
    names_out.wait_for(|names| known(names, "second")).await.unwrap();
    drop(desired);
    task.await.unwrap();
}
