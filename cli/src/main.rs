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
mod new_file;
mod outcome;
mod packs;
mod postgres;
mod progress;
mod simulate;
mod tables;
mod text;

use std::{ffi::OsString, process::ExitCode};

/// Answers come and go in many small pieces, from many threads: the system's allocator took a fifth of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    match opb_settings::try_parse::<commands::Program>(&words) {
        Ok(program) => {
            let json = program.json();
            outcome::exit_code(commands::execute(program), json)
        }
        Err(error) => outcome::refuse(&error, &words),
    }
}
