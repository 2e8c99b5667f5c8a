//! `opb`: serves a bank of prompts and benchmarks, and is its client.
//!
//! No rule is decided here: the crates behind a command, or the server that it calls, decide.
//! Nothing slow may happen before the command line is parsed: `opb --help` must be instant.

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

/// Responses are allocated in many small pieces, by many threads: the system's allocator took a fifth of the time.
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
