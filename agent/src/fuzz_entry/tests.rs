use std::fs;
use std::panic::catch_unwind;

use super::*;

/// Seeds are small: they are in the repository, and run with every test.
const MAX_CORPUS: usize = 1 << 20;

type Target = fn(&[u8]);

#[test]
fn every_target_takes_its_corpus() {
    let targets: [(&str, Target); 6] = [
        ("config", config),
        ("labels", labels),
        ("dns", dns),
        ("host_api", host_api),
        ("netlink", netlink),
        ("journal", journal),
    ];
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let names = |dir: &str| {
        let entries = fs::read_dir(fuzz.join(dir)).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect::<HashSet<_>>()
    };
    let known = targets.map(|(name, _)| name.to_owned()).into();
    assert_eq!((&names("fuzz_targets"), &names("corpus")), (&known, &known));
    let mut bytes = 0;
    for (name, target) in targets {
        let mut seeds = 0;
        for seed in fs::read_dir(fuzz.join("corpus").join(name)).unwrap() {
            let seed = seed.unwrap().path();
            let content = fs::read(&seed).unwrap();
            (seeds, bytes) = (seeds + 1, bytes + content.len());
            catch_unwind(|| target(&content)).unwrap_or_else(|_| panic!("{} fails its target", seed.display()));
        }
        assert!(seeds > 1, "{name} has no seeds");
    }
    assert!(bytes < MAX_CORPUS, "the corpora have {bytes} bytes; minimise them with `cargo fuzz cmin`");
}
