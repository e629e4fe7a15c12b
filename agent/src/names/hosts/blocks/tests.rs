use super::*;
use crate::names::hosts::block::Edit;

fn vip(n: u16) -> DualStack {
    let [high, low] = n.to_be_bytes();
    DualStack::V4([198, 19, high, low].into())
}

fn told(blocks: &Blocks, dialled: &[&str]) -> (String, Option<usize>) {
    let (block, limited) = blocks.of(&dialled.iter().map(|dial| dial.parse().unwrap()).collect());
    let lines = String::from_utf8(Edit::of(b"", Some(&block)).bytes).unwrap();
    (lines.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join(", "), limited)
}

#[test]
fn a_small_mesh_is_told_to_all() {
    let names = [("pay.prod".parse().unwrap(), vip(7))].into_iter().collect();
    let blocks = Blocks::new(names, "prod".parse().unwrap());
    assert_eq!(told(&blocks, &["else"]), ("198.19.0.7 pay.prod".to_owned(), None));
    let none = BTreeSet::new();
    assert!(Arc::ptr_eq(&blocks.of(&none).0, &blocks.of(&none).0), "shared");
}

#[test]
fn of_a_large_mesh_each_is_told_what_it_dials() {
    let mut names: Names = (0..2000).map(|n| (format!("s{n}.prod").parse().unwrap(), vip(n))).collect();
    names.insert("seven".parse().unwrap(), vip(7));
    names.insert("bill.shared".parse().unwrap(), vip(3000));
    let blocks = Blocks::new(names, "prod".parse().unwrap());
    assert_eq!(told(&blocks, &[]), (String::new(), Some(2002)));
    let lines = "198.19.11.184 bill.shared, 198.19.0.7 s7.prod, 198.19.0.7 seven";
    assert_eq!(told(&blocks, &["s7", "shared/bill", "nobody", "shared/s8"]), (lines.to_owned(), Some(2002)));
}
