use super::*;

#[test]
fn a_service_is_kept_for_its_time_and_so_many_of_them() {
    let mut departed = Departed::default();
    let service = |n: usize| ServiceId { namespace: "prod".parse().unwrap(), name: format!("s{n}").parse().unwrap() };
    let begin = 5;
    assert!((0..MAX).all(|n| departed.keeps(&service(n), begin)));
    assert!(!departed.keeps(&service(MAX), begin), "there is no room for more");
    assert!(departed.contains(&service(0)) && !departed.contains(&service(MAX)));

    let last = begin + KNOWN_FOR;
    assert_eq!(departed.next(), Some(last));
    assert!(departed.keeps(&service(0), last - 1), "since it was asked first");
    assert!(!departed.keeps(&service(0), last));
    assert_eq!((departed.over(begin).count(), departed.over(last).count()), (0, MAX));
    departed.remove(&service(0));
    assert!(departed.keeps(&service(0), last), "its time begins anew");
}
