//! The image: what `.dockerignore` lets into its build holds every member of the workspace.
//!
//! `scripts/check-image` compiles the programs from it, too.

use std::{fs, path::Path};

use clap::Args as _;
use opb_core::models::OperatorKeys;

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

/// What an operator sets where Compose runs reaches the process that reads it.
#[test]
fn compose_passes_mail_and_keys_on() {
    let compose = read("docker-compose.yml");
    let service = |name: &str| {
        let from = compose.split(&format!("\n  {name}:\n")).nth(1).unwrap();
        let lines = from.lines();
        let lines = lines.take_while(|line| line.is_empty() || line.starts_with("    "));
        lines.map(str::trim).collect::<Vec<_>>()
    };
    let api = service("api");
    for variable in ["OPB_PUBLIC_URL", "OPB_SMTP_URL", "OPB_MAIL_FROM"] {
        assert!(api.contains(&&*format!("{variable}:")), "{variable}");
    }
    let worker = service("worker");
    let options = OperatorKeys::augment_args(clap::Command::new("keys"));
    let variables = options.get_arguments().filter_map(clap::Arg::get_env);
    let variables: Vec<&str> = variables.filter_map(|name| name.to_str()).collect();
    assert!(variables.len() >= 8, "{variables:?}");
    for variable in variables {
        assert!(worker.contains(&&*format!("{variable}:")), "{variable}");
    }
}

/// Everybody on a machine can read the words of a command in the list of processes.
#[test]
fn no_password_is_a_word_of_a_command() {
    for name in [
        "docker-compose.yml",
        "docs/OPERATIONS.md",
        "grafana/reader.sql",
        "scripts/grafana-reader",
        "scripts/test-ops.py",
    ] {
        let text = read(name);
        for word in ["--set=password", "-v password", "password={READER"] {
            assert!(!text.contains(word), "{name}: {word}");
        }
    }
}
