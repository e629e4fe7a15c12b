use super::*;

#[test]
fn reads_a_real_answer_and_writes_it_back() {
    let text = r#"{"update_state":"Ready","available_updates":["1.21.2","1.21.1"],"chosen_update":{"arch":"x86_64","version":"1.21.2","variant":"aws-ecs-2"},"active_partition":{"image":{"arch":"x86_64","version":"1.20.5","variant":"aws-ecs-2"},"next_to_boot":false},"staging_partition":{"image":{"arch":"x86_64","version":"1.21.1","variant":"aws-ecs-2"},"next_to_boot":true},"most_recent_command":{"cmd_type":"refresh","cmd_status":"Success","timestamp":"2026-11-22T16:24:11.027979606Z","exit_status":0,"stderr":""}}"#;
    let status: UpdateStatus = serde_json::from_str(text).unwrap();
    assert_eq!(status.update_state, UpdateState::Ready);
    assert_eq!(status.chosen_update.as_ref().unwrap().version, "1.21.2");
    assert!(status.staging_partition.as_ref().unwrap().next_to_boot);
    let command = status.most_recent_command.as_ref().unwrap();
    assert_eq!((&command.cmd_type, &command.cmd_status), (&UpdateAction::Refresh.kind(), &CommandOutcome::Success));
    assert_eq!(serde_json::to_string(&status).unwrap(), text);
}

#[test]
fn nulls_and_words_of_other_versions_are_no_errors() {
    let text = r#"{"update_state":"Melting","chosen_update":null,"most_recent_command":{"cmd_type":"polish","cmd_status":"Unknown","timestamp":"t","exit_status":null,"stderr":null},"eta":7}"#;
    let status: UpdateStatus = serde_json::from_str(text).unwrap();
    assert_eq!(status.update_state, UpdateState::Other("Melting".to_owned()));
    assert_eq!(status.most_recent_command.unwrap().cmd_type, CommandKind::Other("polish".to_owned()));
    assert_eq!(status.rest["eta"], 7);
}

#[test]
fn a_status_without_its_state_is_refused() {
    assert!(serde_json::from_str::<UpdateStatus>(r#"{"available_updates":[]}"#).is_err());
}

#[test]
fn what_a_program_wrote_is_told_on_one_line() {
    let text = format!(
        r#"{{"cmd_type":"prepare","cmd_status":"Failed","timestamp":"t","stderr":"a\nb{}"}}"#,
        "c".repeat(9999)
    );
    let mut command: Command = serde_json::from_str(&text).unwrap();
    assert!(command.stderr_line().starts_with("a bcc") && command.stderr_line().len() == crate::MAX_TEXT);
    command.stderr = None;
    assert_eq!(command.stderr_line(), "");
}
