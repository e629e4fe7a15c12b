use super::*;

#[test]
fn only_news_wake_a_receiver() {
    let (sender, mut receiver) = watch::channel(None);
    let mut sent = |value: Option<u8>, news: bool| {
        assert_eq!(publish(&sender, value, if_given(u8::eq)), news, "{value:?}");
        assert_eq!(receiver.has_changed().unwrap(), news, "{value:?}");
        assert_eq!(*receiver.borrow_and_update(), value);
    };
    sent(None, false);
    sent(Some(1), true);
    sent(Some(1), false);
    sent(Some(2), true);
    sent(None, true);
    assert!(!change(&sender, |_| ()));
    assert!(change(&sender, |value| *value = Some(3)));
    assert!(receiver.has_changed().unwrap());
}
