use std::collections::BTreeSet;

use super::*;

#[test]
fn each_has_a_name_of_its_own_and_fits_its_transport() {
    let questions = all("zoo.test");
    let names: BTreeSet<_> = questions.iter().map(|question| (question.name, question.manner == Manner::Udp)).collect();
    assert_eq!(names.len(), questions.len());
    assert!(questions.iter().flat_map(|question| &question.messages).all(|message| message.len() <= 65_535));
}

#[test]
fn the_longest_name_is_as_long_as_names_may_be() {
    let questions = all("zoo.test");
    let longest = questions.iter().find(|question| question.name == "longest-name").unwrap();
    assert_eq!(longest.messages[0].len(), 12 + 255 + 4);
}
