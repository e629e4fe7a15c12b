use super::*;

#[tokio::test(start_paused = true)]
async fn pauses_double_up_to_a_second_and_begin_anew_after_a_calm() {
    let mut trouble = Trouble::new();
    let pauses: Vec<_> = (0..12).map(|_| trouble.pause().as_millis()).collect();
    assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000, 1000]);
    tokio::time::advance(CALM / 2).await;
    assert_eq!(trouble.pause(), Duration::from_secs(1));
    tokio::time::advance(CALM + Duration::from_millis(5)).await;
    assert_eq!(trouble.pause(), Duration::from_millis(5));
}
