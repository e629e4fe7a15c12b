//! Names as programs look them up, by the C libraries' resolvers and by those that languages bring: from containers older
//! than the service, where Docker gave them EC2's search domain and a name server that is silent, with and without the
//! agent. `tests/install runtimes` installs the languages.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use meshdog_tests::harness::{Container, Node, Run, Running, eventually, output};

use super::{Outcome, SILENT, node, start_silent_server};

/// What EC2's DHCP tells instances.
const SEARCH: &str = "search us-west-2.compute.internal";
/// Longest that looking a name up and connecting may take, as the program itself measures it, in milliseconds: musl took
/// 5 s and glibc 8 s before there were names in hosts files.
const AT_ONCE: u64 = 900;
/// What containers see of this machine's programs.
const MOUNTED: [&str; 5] = ["/usr", "/lib", "/lib64", "/etc/alternatives", "/etc/nsswitch.conf"];

/// Programs that connect to port 80 of the name they are given and print how many milliseconds that took.
const C: &str = include_str!("runtimes/connect.c");
const GO: &str = include_str!("runtimes/connect.go");
const JAVA: &str = include_str!("runtimes/Connect.java");
const NODE_JS: &str = include_str!("runtimes/connect.js");
const PYTHON: &str = include_str!("runtimes/connect.py");

/// How each is run.
const PROGRAMS: [(&str, &str); 6] = [
    ("glibc", "/programs/with-glibc"),
    ("musl", "/programs/with-musl"),
    ("Go", "/programs/with-go"),
    ("Node", "/usr/bin/node /programs/connect.js"),
    ("Python", "/usr/bin/python3 /programs/connect.py"),
    ("Java", "/usr/bin/java -Xshare:auto -XX:TieredStopAtLevel=1 -cp /programs Connect"),
];

#[test]
fn every_runtime_finds_names_with_and_without_the_agent() -> Outcome {
    let mut node = node()?;
    let _silent = silent_server(&node)?;
    node.agent.restart()?;
    let programs = build()?;
    output(Command::new("docker").args(["network", "create", "others"]))?;
    // Each dials what it can reach: Docker keeps its networks apart.
    let containers = [
        ("bridge", "", "orders"),
        ("user-network", "--network others", "basket"),
        ("host", "--network host", "orders"),
    ];
    let older = containers.map(|(name, options, service)| {
        let container = run(&node, name, options, &programs)?;
        anyhow::Ok((name, container, service))
    });
    let older: Vec<(&str, Container, &str)> = older.into_iter().collect::<anyhow::Result<_>>()?;
    let serve = |service: &str, options| {
        let (port, alias) =
            (format!("meshdog.{service}.port=8080"), format!("meshdog.{service}.alias={service}:80,{service}.prod:80"));
        let server =
            node.serve(&format!("{service}-1"), Run { labels: &[&port, &alias], options }, "--port 8080 --linger 100")?;
        node.agent.healthy(service, 1)?;
        anyhow::Ok(server)
    };
    let _servers = [serve("orders", "")?, serve("basket", "--network others")?];

    let mut faults = Vec::new();
    for agent in ["running", "stopped"] {
        if agent == "stopped" {
            ensure!(node.agent.terminate()?.success());
        }
        for (network, container, service) in &older {
            told(container, service)?;
            for (runtime, command) in PROGRAMS {
                let took = ["", ".prod"].map(|end| connect(container, command, &format!("{service}{end}")));
                println!("{runtime} in {network}, agent {agent}: {took:?} ms");
                if !took.iter().all(|took| matches!(took, Ok(milliseconds) if *milliseconds < AT_ONCE)) {
                    faults.push(format!("{runtime} in {network}, agent {agent}: {took:?}"));
                }
            }
        }
    }
    ensure!(faults.is_empty(), "{faults:#?}");
    Ok(())
}

/// Connects from inside a container; how long that took, at the better of two attempts: a bridge that has just got a new
/// port may lose a packet, without meshdog as well, and TCP sends it again after a second.
fn connect(container: &Container, command: &str, name: &str) -> anyhow::Result<u64> {
    let took = connect_once(container, command, name)?;
    if took < AT_ONCE { Ok(took) } else { Ok(took.min(connect_once(container, command, name)?)) }
}

fn connect_once(container: &Container, command: &str, name: &str) -> anyhow::Result<u64> {
    let mut docker = Command::new("docker");
    docker.args(["exec", container.name()]).args(command.split(' ')).arg(name);
    let text = output(&mut docker)?;
    text.trim().parse().with_context(|| text)
}

/// Waits until a container's hosts file tells the service.
fn told(container: &Container, service: &str) -> Outcome {
    let hosts = format!("/proc/{}/root/etc/hosts", container.inspect("{{.State.Pid}}")?);
    let told = eventually(Duration::from_secs(10), "the hosts file", || {
        let text = std::fs::read_to_string(&hosts)?;
        ensure!(text.contains(&format!(" {service}.prod\n")), "{text}");
        Ok(())
    });
    told.map(drop)
}

/// A container that sees this machine's languages.
fn run(node: &Node, name: &str, options: &str, programs: &Path) -> anyhow::Result<Container> {
    let mut options = format!("{options} --entrypoint /usr/bin/sleep --volume {}:/programs:ro", programs.display());
    let java = std::fs::read_dir("/etc")?.flatten().map(|entry| entry.path().display().to_string());
    let java = java.filter(|path| path.starts_with("/etc/java-"));
    for path in MOUNTED.map(str::to_owned).into_iter().chain(java) {
        options.push_str(&format!(" --volume {path}:{path}:ro"));
    }
    node.docker.run(name, Run::options(&options), "3600")
}

/// Writes and builds the programs; where they are.
fn build() -> anyhow::Result<PathBuf> {
    let at = PathBuf::from(std::env::var("MESHDOG_WORLD")?).join("programs");
    std::fs::create_dir_all(&at)?;
    let sources =
        [("connect.c", C), ("connect.go", GO), ("Connect.java", JAVA), ("connect.js", NODE_JS), ("connect.py", PYTHON)];
    for (name, text) in sources {
        std::fs::write(at.join(name), text)?;
    }
    let made = |program: &str, args: &str| {
        let mut command = Command::new(program);
        command.args(args.split(' ')).current_dir(&at);
        // Go's own resolver, not the C library's.
        command.env("CGO_ENABLED", "0").env("GO111MODULE", "off").env("GOFLAGS", "-tags=netgo");
        command.env("GOCACHE", at.join("go-cache")).env("GOPATH", at.join("go"));
        output(&mut command)
    };
    made("cc", "-O1 -o with-glibc connect.c")?;
    made("musl-gcc", "-O1 -static -o with-musl connect.c")?;
    made("go", "build -o with-go connect.go")?;
    made("javac", "Connect.java")?;
    Ok(at)
}

fn silent_server(node: &Node) -> anyhow::Result<Running> {
    let (silent, world) = start_silent_server(node)?;
    std::fs::write(format!("{world}/resolv.conf"), format!("{SEARCH}\nnameserver {SILENT}\n"))?;
    Ok(silent)
}
