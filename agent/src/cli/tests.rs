use super::config_file::DEFAULT_CONFIG;
use super::*;

use std::io::{self, ErrorKind};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Runs a command line; gives its exit code and what it printed to standard output and standard error.
fn meshdog(arguments: &[&str], config: &Path) -> (ExitCode, String, String) {
    let line = [&["meshdog"], arguments, &["--config", config.to_str().unwrap()]].concat();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = run(&Cli::try_parse_from(line).unwrap(), &mut out, &mut err);
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn the_command_line_is_sound() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
    let cli = Cli::try_parse_from(["meshdog", "check"]).unwrap();
    let CliCommand::Check(_) = cli.command else { panic!("{cli:?}") };
    assert!(format!("{cli:?}").contains(DEFAULT_CONFIG));
    for bad in [&["meshdog"][..], &["meshdog", "chekc"], &["meshdog", "check", "x"], &["meshdog", "check", "--config"]]
    {
        assert_eq!(Cli::try_parse_from(bad).unwrap_err().exit_code(), 2, "{bad:?}");
    }
    for image in ["", "a b", "a\"b", "-a", "a\nb", "a\\b"] {
        assert!(Cli::try_parse_from(["meshdog", "user-data", "--image", image]).is_err(), "{image}");
    }
}

#[test]
fn a_failure_is_told_with_its_causes() {
    let config = file("version = 1\npaths.admin_socket = \"/proc/self/nowhere/admin.sock\"");
    let (code, out, err) = meshdog(&["status"], config.path());
    assert_eq!((code, out.as_str()), (ExitCode::FAILURE, ""));
    assert!(
        err.starts_with("meshdog: no agent answers at ") && err.ends_with(": No such file or directory (os error 2)\n"),
        "{err}"
    );
    let (_, out, _) = meshdog(&["status", "--json"], config.path());
    assert!(out.contains("No such file or directory"), "{out}");
}

#[test]
fn check_of_a_good_file() {
    let config = file("version = 1\nmesh.import = [\"shared\"]");
    let path = config.path().display();
    let (code, out, err) = meshdog(&["check"], config.path());
    assert_eq!((code, err.as_str()), (ExitCode::SUCCESS, ""));
    assert_eq!(
        out,
        format!(
            "{path}: ok\nnamespace default, imports shared, registry local\n\
             service rules 0, DNS captured, updates off\n"
        )
    );
    let (_, out, _) = meshdog(&["check", "--json"], config.path());
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&json["ok"], &json["namespace"]), (&true.into(), &"default".into()));
}

#[test]
fn check_says_what_is_done_about_updates() {
    let config = file("version = 1\nupdate.mode = \"automatic\"");
    let (code, out, err) = meshdog(&["check"], config.path());
    assert_eq!((code, err.as_str()), (ExitCode::SUCCESS, ""));
    assert!(out.ends_with("updates automatic\n"), "{out}");
}

#[test]
fn bad_files_are_told_in_full_by_every_command() {
    let config = file("version = 1\nfoo = 1\n[mesh]\nnamespace = 3\n");
    let path = config.path().display();
    for command in ["check", "user-data"] {
        let (code, out, err) = meshdog(&[command], config.path());
        assert_eq!((code, out.as_str()), (ExitCode::from(2), ""));
        let lines: Vec<&str> = err.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with(&format!("{path}:2:1: unknown key `foo`")), "{err}");
        assert!(lines[1].starts_with(&format!("{path}:4:13: `namespace` in [mesh]: ")), "{err}");

        let (code, out, err) = meshdog(&["--json", command], config.path());
        assert_eq!((code, err.as_str()), (ExitCode::from(2), ""));
        let json: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(json["ok"], false);
        assert_eq!((&json["errors"][1]["line"], &json["errors"][1]["column"]), (&4.into(), &13.into()));
        assert!(json["errors"][0]["message"].as_str().unwrap().starts_with("unknown key"));
    }
    let (code, _, err) = meshdog(&["check"], Path::new("/nonexistent/meshdog.toml"));
    assert_eq!(code, ExitCode::from(2));
    assert!(err.starts_with("/nonexistent/meshdog.toml:1:1: cannot be read: "), "{err}");
}

/// The user data within printed settings, and the table that holds it.
fn carried(document: &str) -> (String, toml::Table) {
    let document: toml::Table = document.parse().unwrap();
    let table = document["settings"]["host-containers"]["meshdog"].as_table().unwrap().clone();
    let data = STANDARD.decode(table["user-data"].as_str().unwrap()).unwrap();
    (String::from_utf8(data).unwrap(), table)
}

#[test]
fn user_data_carries_the_file_as_it_is() {
    let text = "# é\r\nversion = 1\n\n";
    let config = file(text);
    let (code, out, err) = meshdog(&["user-data", "--image", "r.example:5000/meshdog@sha256:0a"], config.path());
    assert_eq!((code, err.as_str()), (ExitCode::SUCCESS, ""));
    let (data, table) = carried(&out);
    assert_eq!(data, text);
    assert_eq!(table["source"].as_str(), Some("r.example:5000/meshdog@sha256:0a"));
    assert_eq!((table["enabled"].as_bool(), table["superpowered"].as_bool()), (Some(true), Some(true)));

    let (_, out, _) = meshdog(&["user-data"], config.path());
    assert!(out.contains("\n# source = "), "{out}");
    assert!(!carried(&out).1.contains_key("source"));

    let (_, out, _) = meshdog(&["user-data", "--json"], config.path());
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(carried(json["toml"].as_str().unwrap()).0, text);
}

#[test]
fn user_data_minds_the_limit_of_ec2() {
    // Found by search, so that the test does not repeat the document's arithmetic: the length of a comment with which
    // the printed document first reaches so many bytes.
    let printed = |length: usize| {
        let config = file(&format!("version = 1\n#{}", "x".repeat(length)));
        meshdog(&["user-data", "--image", "a"], config.path())
    };
    let reaching = |bytes: usize| {
        let lengths: Vec<usize> = (0..16 * 1024).collect();
        lengths.partition_point(|&length| {
            let (code, out, _) = printed(length);
            code == ExitCode::SUCCESS && out.len() < bytes
        })
    };
    let near = reaching(14 * 1024);
    let (code, out, err) = printed(near);
    assert!((14 * 1024..14 * 1024 + 4).contains(&out.len()));
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(err.starts_with("warning: these settings take 143") && err.lines().count() == 1, "{err}");
    assert_eq!(printed(near - 1).2, "");

    let over = reaching(16 * 1024);
    assert!((16 * 1024 - 4..16 * 1024).contains(&printed(over - 1).1.len()));
    let (code, out, err) = printed(over);
    assert_eq!((code, out.as_str()), (ExitCode::FAILURE, ""));
    assert!(err.contains("EC2 takes less than 16384") && err.contains("gzip"), "{err}");
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    struct Gone(ErrorKind);
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let config = file("version = 1");
    for json in [&[][..], &["--json"]] {
        let line = ["meshdog", "check", "--config", config.path().to_str().unwrap()];
        let cli = Cli::try_parse_from(line.iter().chain(json)).unwrap();
        let mut err = Vec::new();
        assert_eq!(run(&cli, &mut Gone(ErrorKind::BrokenPipe), &mut err), ExitCode::SUCCESS);
        assert!(err.is_empty());
        assert_eq!(run(&cli, &mut Gone(ErrorKind::StorageFull), &mut err), ExitCode::FAILURE);
        assert!(String::from_utf8(err).unwrap().starts_with("meshdog: cannot write the output: "));
    }
}
