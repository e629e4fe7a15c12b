use tempfile::tempfile;

use super::*;

const AT: u64 = 8 * SECTOR;

fn image(version: &str) -> Image {
    Image { arch: "x86_64".into(), version: version.into(), variant: "aws-ecs-2".into() }
}

fn partition() -> File {
    let file = tempfile().unwrap();
    file.set_len(64 * SECTOR).unwrap();
    file
}

#[test]
fn an_image_is_held_until_another_is_written() {
    let disk = partition();
    assert_eq!(read(&disk, AT).unwrap(), Held::Nothing);
    for version in ["1.20.5", "1.21.1", "2.0.0-rc.1+a-rather-long-build"] {
        write(&disk, AT, &image(version)).unwrap();
        assert_eq!(read(&disk, AT).unwrap(), Held::Image(image(version)));
        assert_eq!(read(&disk, 0).unwrap(), Held::Nothing, "other partitions are left alone");
    }
    assert!(write(&disk, AT, &image(&"1".repeat(MAX))).is_err());
    assert_eq!(read(&disk, AT).unwrap().image().unwrap().version, "2.0.0-rc.1+a-rather-long-build");
}

#[test]
fn a_write_that_was_cut_off_shows() {
    // At first, and over another image.
    for before in [None, Some("1.20.5")] {
        let disk = partition();
        if let Some(version) = before {
            write(&disk, AT, &image(version)).unwrap();
        }
        let json = serde_json::to_vec(&image("1.21.1")).unwrap();
        announce(&disk, AT, &json).unwrap();
        assert_eq!(read(&disk, AT).unwrap(), Held::Torn, "before the first byte");
        disk.write_all_at(&json[..json.len() / 2], AT + SECTOR).unwrap();
        assert_eq!(read(&disk, AT).unwrap(), Held::Torn, "half-way");
        disk.write_all_at(&json, AT + SECTOR).unwrap();
        assert_eq!(read(&disk, AT).unwrap(), Held::Image(image("1.21.1")));
    }
}

#[test]
fn a_length_is_not_believed() {
    let disk = partition();
    write(&disk, AT, &image("1.20.5")).unwrap();
    disk.write_all_at(&u32::MAX.to_le_bytes(), AT + 8).unwrap();
    assert_eq!(read(&disk, AT).unwrap(), Held::Torn);
}
