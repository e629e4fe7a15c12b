//! The `meshdog` program.

fn main() {}
