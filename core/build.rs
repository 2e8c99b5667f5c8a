//! Rebuilds this crate when what its macros read has changed; cargo does not see that by itself.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
    println!("cargo:rerun-if-changed=../.sqlx");
}
