use super::*;

#[test]
fn what_runs_is_told_in_a_file_beside_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("signpost");
    for active in [Bank::A, Bank::B] {
        let running = Running::new("/some/disk.img".into(), active);
        running.tell(dir.path()).unwrap();
        assert_eq!(Running::find(&program, "meshdog.active=A").unwrap(), running, "the file goes before the kernel");
    }
    fs::write(dir.path().join(FILE), r#"{"disk":"/d","active":"B","shown":"/dev/vdb"}"#).unwrap();
    let told = Running { disk: "/d".into(), active: Bank::B, shown: "/dev/vdb".into() };
    assert_eq!(Running::find(&program, "").unwrap(), told);
    for wrong in [r#"{"disk":"/d"}"#, r#"{"disk":"/d","active":"C"}"#, r#"{"disk":"/d","active":"A","x":1}"#] {
        fs::write(dir.path().join(FILE), wrong).unwrap();
        assert!(Running::find(&program, "meshdog.active=A").is_err(), "{wrong}");
    }
}

#[test]
fn a_disk_is_found_again_from_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    Running::new("disk.img".into(), Bank::A).tell(dir.path()).unwrap();
    let told = Running::find(&dir.path().join("signpost"), "").unwrap();
    assert_eq!(told.disk, std::env::current_dir().unwrap().join("disk.img"));
}

#[test]
fn in_a_virtual_machine_the_kernel_says_what_runs() {
    let dir = tempfile::tempdir().unwrap();
    let find = |line| Running::find(&dir.path().join("signpost"), line).ok();
    let vda = |active| Some(Running { disk: "/dev/vda".into(), active, shown: "/dev/vda".into() });
    assert_eq!(find("console=ttyS0 meshdog.active=A panic=1\n"), vda(Bank::A));
    assert_eq!(find("meshdog.active=B"), vda(Bank::B));
    for line in ["", "console=ttyS0", "meshdog.active=", "meshdog.active=C", "xmeshdog.active=A"] {
        assert_eq!(find(line), None, "{line}");
    }
}

#[test]
fn it_is_installed_over_another() {
    let dir = tempfile::tempdir().unwrap();
    for program in ["/bin/false", "/bin/true"] {
        let installed = install(Path::new(program), dir.path()).unwrap();
        assert_eq!(installed.canonicalize().unwrap(), Path::new(program).canonicalize().unwrap());
        let ended = std::process::Command::new(&installed).status().unwrap();
        assert_eq!(ended.success(), program.ends_with("true"));
    }
    assert!(install(Path::new("/nowhere"), dir.path()).is_err());
}
