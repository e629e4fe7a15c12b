use super::*;

fn states(results: &str) -> String {
    let mut state = ProbeState::NEW;
    results
        .chars()
        .map(|result| {
            state = state.after(result == '+');
            match state.state() {
                EndpointState::Starting => 's',
                EndpointState::Healthy => 'h',
                _ => 'u',
            }
        })
        .collect()
}

#[test]
fn three_failures_in_a_row_and_two_successes_in_a_row() {
    assert_eq!(states("----+"), "ssssh");
    assert_eq!(states("+--+--+---"), "hhhhhhhhhu");
    assert_eq!(states("+---+-++"), "hhhuuuuh");
    assert_eq!(states("+---++--+"), "hhhuuhhhh");
    assert_eq!(states("+---+++---"), "hhhuuhhhhu");
}

#[test]
fn starting_is_fast_and_slows_down() {
    let mut state = ProbeState::NEW;
    let waits: Vec<u128> = (0..7)
        .map(|_| {
            let before = state;
            state = state.after(false);
            state.wait(before).as_millis()
        })
        .collect();
    assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000]);
    let healthy = state.after(true);
    assert_eq!(healthy.wait(state), INTERVAL);
    assert_eq!(healthy.after(false).wait(healthy), INTERVAL);
}

#[test]
fn who_was_healthy_when_the_agent_last_ran_is_withdrawn_by_as_many_failures_as_ever() {
    let states = std::iter::successors(Some(ProbeState::recalled(EndpointState::Healthy)), |s| Some(s.after(false)));
    let healthy = states.take_while(|state| state.state() == EndpointState::Healthy).count();
    assert_eq!(healthy, usize::from(FAILURES));
    let unhealthy = ProbeState::recalled(EndpointState::Unhealthy);
    assert_eq!(unhealthy.after(true).state(), EndpointState::Unhealthy, "one answer is not enough");
    assert_eq!(ProbeState::recalled(EndpointState::Draining), ProbeState::NEW);
}
