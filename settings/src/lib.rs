//! What the command line, the environment and a file set for every process: one way for all of them. The command line wins
//! over the environment, the environment over the file.
//!
//! A file is TOML whose keys are the long options of the command line. Its values become the options' defaults,
//! so `--help` shows what is in force. What only one room or process knows stays there: these are the settings that several
//! share.

mod command_line;
mod database;
mod errors;
mod file;
mod log;
mod secrets;
mod signals;
#[cfg(test)]
mod tests;
mod text_file;

pub use command_line::{parse, try_parse};
pub use database::{DatabaseSettings, ReplicaSettings, with_password};
pub use errors::{explain, is_help};
pub use file::{FileSettings, MAX_FILE_BYTES};
pub use log::{EXPORTED_SPANS, Listener, LogFormat, LogSettings, exit_code};
pub use secrets::SecretSettings;
pub use signals::stop_on_signals;
pub use text_file::{read_secret_text, read_text};
