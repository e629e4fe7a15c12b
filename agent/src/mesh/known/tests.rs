use super::*;

fn service(n: usize) -> Offered {
    (ServiceId { namespace: "prod".parse().unwrap(), name: format!("s{n}").parse().unwrap() }, L4::Tcp)
}

#[test]
fn a_service_is_kept_for_its_time_and_so_many_of_them() {
    let mut departed = Departed::default();
    let begin = 5;
    assert!((0..MAX).all(|n| departed.keeps(&service(n), begin)));
    assert!(!departed.keeps(&service(MAX), begin), "there is no room for more");
    assert!(departed.contains(&service(0).0) && !departed.contains(&service(MAX).0));

    let last = begin + KNOWN_FOR;
    assert_eq!(departed.next(), Some(last));
    assert!(departed.keeps(&service(0), last - 1), "since it was asked first");
    assert!(!departed.keeps(&service(0), last));
    assert_eq!((departed.over(begin).count(), departed.over(last).count()), (0, MAX));
    assert!(departed.remove(&service(0)) && !departed.remove(&service(0)));
    assert!(departed.keeps(&service(0), last), "its time begins anew");
}

#[test]
fn transports_are_known_apart() {
    let mut departed = Departed::default();
    let (tcp, udp) = (service(1), (service(1).0, L4::Udp));
    assert!(departed.keeps(&udp, 1));
    assert_eq!((departed.get(&tcp), departed.get(&udp)), (None, Some(1)));
    assert!(departed.contains(&tcp.0));
}

fn known(n: usize, aliases: usize, departed: Option<u64>) -> KnownService {
    let aliases = (0..aliases).map(|alias| format!("a{alias}.prod:80")).collect();
    KnownService { service: service(n).0.to_string(), protocol: "http".to_owned(), aliases, departed }
}

#[test]
fn what_is_remembered_is_bounded_and_checked() {
    let all = (0..MAX_REMEMBERED + 7).map(|n| known(n, 1, (n > MAX_REMEMBERED).then_some(9))).collect();
    let kept = bounded(all);
    assert_eq!(kept.len(), MAX_REMEMBERED);
    assert!(kept[..6].iter().all(|known| known.departed == Some(9)), "those that nobody else tells of come first");
    assert_eq!(bounded(vec![known(1, MAX_REMEMBERED, None), known(2, 1, None)]).len(), 1);

    let strange = [
        KnownService { service: "no service".to_owned(), ..known(1, 1, None) },
        KnownService { protocol: "carrier pigeon".to_owned(), ..known(2, 1, None) },
        KnownService { aliases: vec!["a:b:c".to_owned()], ..known(3, 1, None) },
        known(4, 2, None),
    ];
    let read = recalled(&strange, 10);
    let [(offered, one)] = &read[..] else { panic!("{read:?}") };
    assert_eq!((offered, one.aliases.len(), one.departed), (&service(4), 2, None));
}

#[test]
fn nothing_is_known_for_longer_than_its_time_whatever_the_clock_says() {
    let all = [known(1, 0, Some(100)), known(2, 0, Some(u64::MAX)), known(3, 0, Some(50))];
    let read = recalled(&all, 50 + KNOWN_FOR);
    let since: Vec<_> = read.iter().map(|((id, _), one)| (id.name.as_str(), one.departed)).collect();
    assert_eq!(since, [("s1", Some(100)), ("s2", Some(50 + KNOWN_FOR))]);
}
