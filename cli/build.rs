//! Tells cargo that the built-in benchmark packs are part of the program.

fn main() {
    println!("cargo:rerun-if-changed=../benchmarks");
}
