//! openanomaly
fn main() {}
