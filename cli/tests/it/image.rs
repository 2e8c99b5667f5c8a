//! The image: what `.dockerignore` lets into its build holds every member of the workspace.
//!
//! `scripts/check-image` compiles the programs from it, too.

use std::{fs, path::Path};

fn read(name: &str) -> String {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    fs::read_to_string(root.join(name)).unwrap()
}

#[test]
fn the_image_is_built_from_every_member_of_the_workspace() {
    let ignored = read(".dockerignore");
    let kept: Vec<&str> = ignored
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    let manifest: toml::Table = toml::from_str(&read("Cargo.toml")).unwrap();
    let members = manifest["workspace"]["members"].as_array().unwrap();
    assert!(members.len() >= 9);
    for member in members.iter().filter_map(toml::Value::as_str) {
        let folder = member.split('/').next().unwrap();
        assert!(
            kept.contains(&folder),
            ".dockerignore keeps `{folder}` out: add `!{folder}`"
        );
    }
}

#[test]
fn the_image_holds_every_program() {
    let dockerfile = read("Dockerfile");
    let copied = dockerfile
        .lines()
        .find(|line| line.contains("/programs/") && line.contains("cp "))
        .unwrap();
    for manifest in ["cli", "api", "worker", "scheduler"] {
        let manifest: toml::Table =
            toml::from_str(&read(&format!("{manifest}/Cargo.toml"))).unwrap();
        let program = match manifest.get("bin") {
            Some(programs) => &programs[0]["name"],
            None => &manifest["package"]["name"],
        };
        let program = program.as_str().unwrap();
        let copied = copied
            .split_whitespace()
            .any(|word| word == format!("target/release/{program}"));
        assert!(copied, "the Dockerfile does not copy {program}");
    }
}
