//! In the host's namespaces, which needs root.

use nix::sched::unshare;

use super::*;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn it_runs_in_the_namespaces_of_the_host() {
    let kinds = NAMESPACES.map(|(name, _)| name);
    let program = Program::new(&format!(
        r#"for kind in {}; do readlink "/proc/self/ns/$kind"; done >"$0.found"; pwd >"$0.pwd""#,
        kinds.join(" ")
    ));
    let of = move |whose: String| kinds.map(|kind| std::fs::read_link(format!("{whose}/ns/{kind}")).unwrap());
    let host = of(format!("/proc/{}", std::process::id()));
    // A thread that has left them all, as a container has.
    let away = NAMESPACES.iter().fold(CloneFlags::empty(), |all, (_, kind)| all | *kind);
    // Process 1 of the machine may keep its own to itself.
    let namespaces = format!("/proc/{}/ns", std::process::id()).into();
    let signpost = Signpost { namespaces, kinds: &NAMESPACES, ..program.signpost() };
    let container = std::thread::spawn(move || {
        unshare(away).unwrap();
        block_on(signpost.roll_back()).unwrap();
        of("/proc/thread-self".to_owned())
    });
    let container = container.join().unwrap();
    let found = std::fs::read_to_string(program.dir.path().join("signpost.found")).unwrap();
    assert_eq!(found.lines().map(PathBuf::from).collect::<Vec<_>>(), host);
    let pwd = std::fs::read_to_string(program.dir.path().join("signpost.pwd")).unwrap();
    assert_eq!(pwd, "/\n", "whoever enters a mount namespace begins at its root");
    for (ours, hosts) in container.iter().zip(&host) {
        assert_ne!(ours, hosts, "the thread that asks stays where it is");
    }
}
