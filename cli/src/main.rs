//! `opb`: serves a bank of prompts and benchmarks, and talks to one.
//!
//! Nothing here knows a rule: what a command does is decided by the crates behind it or by the server it asks.
//! Nothing heavy may happen before the command line is parsed: `opb --help` must answer at once.

mod bank;
mod child;
mod client;
mod commands;
mod data_folder;
mod files;
mod folder_lock;
mod logins;
mod outcome;
mod packs;
mod postgres;
mod progress;
mod simulate;
mod tables;
mod text;

use std::process::ExitCode;

/// Answers come and go in many small pieces, from many threads: the system's allocator took a fifth of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let program: commands::Program = opb_core::config::parse();
    outcome::exit_code(commands::execute(program))
}
