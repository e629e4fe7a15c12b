use std::fs;
use std::os::unix::fs::symlink;

use nix::sys::stat::Mode;
use tempfile::TempDir;

use super::*;
use crate::names::hosts::block::tests::names;

const OWN: &str = "127.0.0.1\tlocalhost\n172.17.0.3\t0123456789ab\n";

/// Docker's root with one container and its hosts file.
fn root(text: &[u8]) -> (TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("containers/c1")).unwrap();
    let file = root.path().join("containers/c1/hosts");
    fs::write(&file, text).unwrap();
    (root, file)
}

fn block(told: &[(&str, u8)]) -> Block {
    Block::of(&names(told)).0
}

#[test]
fn a_file_is_written_in_place_and_only_where_it_must() {
    let (root, file) = root(OWN.as_bytes());
    let inode = fs::metadata(&file).unwrap().ino();
    let long = block(&[("a", 1), ("b", 2), ("pay", 8)]);
    let held = rewrite(root.path(), "c1", Some(&long)).unwrap();
    assert_eq!(held, Held { names: 3, own: 0, written: true });
    assert!(fs::read_to_string(&file).unwrap().contains("\n198.19.0.8 pay\n"));
    assert!(!rewrite(root.path(), "c1", Some(&long)).unwrap().written);
    rewrite(root.path(), "c1", Some(&block(&[("pay", 8)]))).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with(OWN) && !text.contains(" a\n") && !text.contains("\n\n"), "{text:?}");
    assert_eq!(rewrite(root.path(), "c1", None).unwrap(), Held { names: 0, own: 0, written: true });
    assert_eq!(fs::read_to_string(&file).unwrap(), OWN);
    assert_eq!(fs::metadata(&file).unwrap().ino(), inode);
}

#[test]
fn what_is_no_plain_file_beneath_the_root_is_left_alone() {
    let (root, file) = root(OWN.as_bytes());
    let (root, told) = (root.path(), block(&[("pay", 8)]));
    let victim = root.join("victim");
    fs::write(&victim, OWN).unwrap();
    let tried = || rewrite(root, "c1", Some(&told)).unwrap_err();
    let again = || fs::remove_file(&file).unwrap();

    again();
    assert!(matches!(tried(), FileError::Open(Errno::ENOENT)));
    symlink(&victim, &file).unwrap();
    assert!(matches!(tried(), FileError::Open(Errno::ELOOP)));
    again();
    fs::hard_link(&victim, &file).unwrap();
    assert!(matches!(tried(), FileError::Links(2)));
    again();
    nix::unistd::mkfifo(&file, Mode::S_IRWXU).unwrap();
    assert!(matches!(tried(), FileError::NotRegular));
    again();
    fs::create_dir(&file).unwrap();
    assert!(matches!(tried(), FileError::Open(Errno::EISDIR)));
    fs::remove_dir(&file).unwrap();

    fs::remove_dir(root.join("containers/c1")).unwrap();
    fs::create_dir(root.join("elsewhere")).unwrap();
    fs::write(root.join("elsewhere/hosts"), OWN).unwrap();
    symlink("../elsewhere", root.join("containers/c1")).unwrap();
    assert!(matches!(tried(), FileError::Open(Errno::ELOOP)));
    assert!(matches!(rewrite(root, "../../..", Some(&told)).unwrap_err(), FileError::Open(_)));
    for untouched in [victim, root.join("elsewhere/hosts")] {
        assert_eq!(fs::read_to_string(untouched).unwrap(), OWN);
    }
    let nowhere = rewrite(&root.join("nowhere"), "c1", None).unwrap_err();
    assert!(nowhere.is_of_root(), "{nowhere}");
}

#[test]
fn a_huge_file_is_left_alone_and_a_large_one_can_be_read_again() {
    let (root, file) = root(&vec![b'\n'; MAX_OWN as usize]);
    let told = block(&[("pay", 8)]);
    assert!(rewrite(root.path(), "c1", Some(&told)).unwrap().written);
    assert!(!rewrite(root.path(), "c1", Some(&told)).unwrap().written);
    fs::write(&file, vec![b'\n'; 2 * MAX_OWN as usize]).unwrap();
    assert!(matches!(rewrite(root.path(), "c1", Some(&told)).unwrap_err(), FileError::TooLarge(_)));
}

#[test]
fn what_is_added_between_reading_and_writing_is_not_lost() {
    let (root, path) = root(OWN.as_bytes());
    let file = open_beneath(root.path(), "c1").unwrap();
    let edit = Edit::of(OWN.as_bytes(), Some(&block(&[("pay", 8)])));
    let added = OWN.to_owned() + "172.18.0.2\t0123456789ab\n";
    fs::write(&path, &added).unwrap();
    assert!(!write(&file, OWN.as_bytes(), &edit).unwrap());
    assert_eq!(fs::read_to_string(&path).unwrap(), added);
}

#[test]
fn a_reader_always_finds_what_did_not_change() {
    let (root, file) = root(OWN.as_bytes());
    // What did not change stands where it stood, and so in one piece.
    let (few, many) = (block(&[("pay", 8)]), block(&[("pay", 8), ("x", 1), ("y", 2), ("z", 9)]));
    rewrite(root.path(), "c1", Some(&few)).unwrap();
    let reading = std::thread::spawn(move || {
        for _ in 0..2000 {
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.starts_with(OWN) && text.contains("198.19.0.8 pay\n"), "{text:?}");
        }
    });
    while !reading.is_finished() {
        rewrite(root.path(), "c1", Some(&many)).unwrap();
        rewrite(root.path(), "c1", Some(&few)).unwrap();
    }
    reading.join().unwrap();
}

#[test]
fn all_blocks_are_taken_out() {
    let (root, file) = root(OWN.as_bytes());
    let root = root.path();
    rewrite(root, "c1", Some(&block(&[("pay", 8)]))).unwrap();
    for container in ["c2", "c3"] {
        fs::create_dir(root.join("containers").join(container)).unwrap();
    }
    fs::write(root.join("containers/c2/hosts"), OWN).unwrap();
    fs::write(root.join("containers/stray"), OWN).unwrap();
    let out = take_out(root).unwrap();
    assert_eq!((out.files, out.failed.len()), (1, 0), "{out:?}");
    assert_eq!(fs::read_to_string(file).unwrap(), OWN);
    symlink("c1", root.join("containers/c4")).unwrap();
    assert_eq!(take_out(root).unwrap().failed.len(), 1);
    assert!(take_out(&root.join("nowhere")).unwrap_err().is_of_root());
}
