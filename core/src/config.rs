//! Configuration: one way for every process. The command line wins over the environment, the environment over the file.
//!
//! A file is TOML whose keys are the long options of the command line. Its values become the options' defaults,
//! so `--help` shows what is in force.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::File,
    io::{self, IsTerminal as _, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, CommandFactory, FromArgMatches, ValueEnum,
    builder::Resettable,
    error::{ContextKind, ContextValue, ErrorKind},
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, fmt, layer::SubscriberExt as _, registry::LookupSpan,
    util::SubscriberInitExt as _,
};
use url::Url;

use crate::{
    sealed::{FoundKey, KeyPlace},
    sealing::MasterKey,
};

/// The largest configuration file.
pub const MAX_FILE_BYTES: u64 = 1 << 20;
/// The largest file of a password.
const MAX_PASSWORD_BYTES: u64 = 64 << 10;

/// How a process finds the database.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseSettings {
    /// Address of the database: postgres://user:password@host:port/name
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: SecretString,
    /// File that holds the password for the database; it takes precedence over one in the address
    #[arg(long, env = "OPB_DATABASE_PASSWORD_FILE", value_name = "FILE")]
    pub database_password_file: Option<PathBuf>,
    /// Address of a PgBouncer (1.21 or newer, in transaction mode) in front of the database, for everything that needs
    /// no session of its own; the queue and live events use the database itself
    #[arg(
        long,
        env = "OPB_POOLED_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    pub pooled_database_url: Option<SecretString>,
    /// Maximum number of connections of this process, without the queue's own
    #[arg(long, env = "OPB_DATABASE_CONNECTIONS", value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub database_connections: u32,
}

impl DatabaseSettings {
    /// The address of the database with everything that leads into it.
    ///
    /// # Errors
    /// The password's file cannot be read, or the address is not one.
    pub fn address(&self) -> anyhow::Result<SecretString> {
        self.with_password(&self.database_url)
    }

    /// The address of the pooler in front of the database; of the database itself, if there is none.
    ///
    /// # Errors
    /// The password's file cannot be read, or the address is not one.
    pub fn pooled_address(&self) -> anyhow::Result<SecretString> {
        self.with_password(
            self.pooled_database_url
                .as_ref()
                .unwrap_or(&self.database_url),
        )
    }

    fn with_password(&self, address: &SecretString) -> anyhow::Result<SecretString> {
        with_password(address, self.database_password_file.as_deref())
    }
}

/// The address of a database with the password of a file in it, if one is named.
///
/// # Errors
/// The file cannot be read, or the address is not one.
pub fn with_password(address: &SecretString, file: Option<&Path>) -> anyhow::Result<SecretString> {
    let Some(file) = file else {
        return Ok(address.clone());
    };
    let password = read_text(file, MAX_PASSWORD_BYTES)
        .with_context(|| format!("the password's file {} cannot be read", file.display()))?;
    // The parser's own message may quote the address with its password.
    let mut url = Url::parse(address.expose_secret())
        .map_err(|_| anyhow::anyhow!("the database address is not a valid postgres:// URL"))?;
    url.query_pairs_mut()
        .append_pair("password", password.trim_end_matches(['\r', '\n']));
    Ok(String::from(url).into())
}

/// The text of a small file, which may be a pipe or a device, of at most `most_bytes`.
///
/// # Errors
/// It cannot be read, is larger, or is no text.
pub fn read_text(path: &Path, most_bytes: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(most_bytes + 1).read_to_end(&mut bytes)?;
    let wrong = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
    if bytes.len() as u64 > most_bytes {
        let most = most_bytes >> 10;
        return Err(wrong(format!("it is larger than {most} KiB")));
    }
    String::from_utf8(bytes).map_err(|_| wrong("it is not text in UTF-8".to_owned()))
}

/// Where a copy of the database may be read.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Database")]
pub struct ReplicaSettings {
    /// Address of a read replica, for anonymous reads of leaderboards, search and explore; without it, and while it is
    /// unreachable, they use the database itself. It takes a third of the connections
    #[arg(
        long,
        env = "OPB_READ_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    pub read_database_url: Option<SecretString>,
}

impl ReplicaSettings {
    /// The address of the replica, with the password of the database.
    ///
    /// # Errors
    /// Those of [`DatabaseSettings::address`].
    pub fn address(&self, database: &DatabaseSettings) -> anyhow::Result<Option<SecretString>> {
        let url = self.read_database_url.as_ref();
        url.map(|url| database.with_password(url)).transpose()
    }
}

/// Where the key for secrets at rest and for tokens comes from.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Secrets")]
pub struct SecretSettings {
    /// Key for secrets at rest and for tokens: 32 bytes in base64, the same for all processes
    #[arg(
        long,
        env = "OPB_MASTER_KEY",
        value_name = "BASE64",
        hide_env_values = true
    )]
    pub master_key: Option<SecretString>,
    /// File that holds the master key; made with mode 0600 if there is none
    #[arg(
        long,
        env = "OPB_MASTER_KEY_FILE",
        value_name = "FILE",
        conflicts_with = "master_key"
    )]
    pub master_key_file: Option<PathBuf>,
    /// The master key before this one: tokens made with it work until they expire
    #[arg(
        long,
        env = "OPB_PREVIOUS_MASTER_KEY",
        value_name = "BASE64",
        hide_env_values = true
    )]
    pub previous_master_key: Option<SecretString>,
}

impl SecretSettings {
    /// Reads the key, if it is there. `file` is where it is kept when no setting says where.
    ///
    /// # Errors
    /// Nothing says where the key is, or it is not one, or can be guessed or read by others.
    pub fn load(&self, file: Option<&Path>) -> anyhow::Result<FoundKey> {
        let place = match (&self.master_key, self.master_key_file.as_deref().or(file)) {
            (Some(text), _) => KeyPlace::Read(MasterKey::parse(text)?),
            (None, Some(path)) => match MasterKey::load(path)? {
                Some(key) => KeyPlace::Read(key),
                None => KeyPlace::Missing(path.to_owned()),
            },
            (None, None) => anyhow::bail!(
                "set OPB_MASTER_KEY (make one with: openssl rand -base64 32), or OPB_MASTER_KEY_FILE to a file that all \
                 processes share"
            ),
        };
        if let KeyPlace::Read(key) = &place {
            key.require_random()?;
        }
        let previous = self.previous_master_key.as_ref().map(MasterKey::parse);
        let previous = previous.transpose().context("OPB_PREVIOUS_MASTER_KEY")?;
        Ok(FoundKey { place, previous })
    }
}

/// What a process says while it works.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logging")]
pub struct LogSettings {
    /// What is logged: error, warn, info, debug, trace, or per module as in `opb_worker=debug,info`
    #[arg(long, env = "OPB_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// How log lines look
    #[arg(
        long,
        env = "OPB_LOG_FORMAT",
        value_name = "FORMAT",
        value_enum,
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

impl LogSettings {
    /// Starts logging to standard error.
    ///
    /// # Errors
    /// The filter does not parse.
    pub fn start(&self) -> anyhow::Result<()> {
        self.start_beside(None)
    }

    /// Starts logging to standard error beside something else that hears of spans and events.
    ///
    /// # Errors
    /// The filter does not parse.
    pub fn start_beside(&self, other: Option<Listener>) -> anyhow::Result<()> {
        // The libraries' own chatter at `info` hides ours; whoever wants it can name the module.
        // Spans for export are no lines; while nobody exports them, nobody asks for them, and they cost nothing.
        let filter = EnvFilter::try_new(format!(
            "{EXPORTED_SPANS}=off,apalis=warn,apalis_core=warn,sqlx=warn,sqlx::pool::acquire=error,sqlx::postgres::notice=error,{}",
            self.log
        ))
        .map_err(|error| anyhow::anyhow!("--log: {error}"))?;
        // A second start in one process (tests, `opb up`) keeps the first.
        let _ = match other {
            // Without another listener the filter is everybody's: what it refuses is not even made.
            None => tracing_subscriber::registry()
                .with(filter)
                .with(self.lines())
                .try_init(),
            Some(other) => tracing_subscriber::registry()
                .with(other)
                .with(self.lines().with_filter(filter))
                .try_init(),
        };
        Ok(())
    }

    fn lines<S>(&self) -> Box<dyn Layer<S> + Send + Sync>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let lines = fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal());
        match self.log_format {
            LogFormat::Text => lines.with_target(false).boxed(),
            LogFormat::Json => lines.json().boxed(),
        }
    }
}

/// What hears of spans and events beside the log.
pub type Listener = Box<dyn Layer<Registry> + Send + Sync>;

/// The target of spans that are exported as traces. The log never shows them, and nothing else is exported.
pub const EXPORTED_SPANS: &str = "opb_traces";

/// Parses the settings of a program from its command line, its environment and its file.
/// A bad setting ends the program with one line and exit code 2.
#[must_use]
pub fn parse<T: CommandFactory + FromArgMatches>() -> T {
    let words: Vec<OsString> = std::env::args_os().collect();
    match try_parse(&words) {
        Ok(settings) => settings,
        Err(error) if is_help(&error) => error.exit(),
        Err(error) => {
            let line = explain(&error);
            // The setting itself was not read: its variable is all that is known of it.
            let is_json = std::env::var("OPB_LOG_FORMAT").is_ok_and(|format| format == "json");
            match line.strip_prefix("error: ").filter(|_| is_json) {
                Some(text) => eprintln!("{}", last_line(text, LogFormat::Json)),
                None => eprintln!("{line}"),
            }
            std::process::exit(2);
        }
    }
}

/// True when what clap has to say is help or a version, and no error.
#[must_use]
pub fn is_help(error: &clap::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    )
}

/// Parses settings from the given words; see [`parse`].
///
/// # Errors
/// What clap found wrong.
pub fn try_parse<T: CommandFactory + FromArgMatches>(words: &[OsString]) -> Result<T, clap::Error> {
    let command = with_file_defaults(T::command(), words)?;
    let matches = without_empty_variables(command.clone()).try_get_matches_from(words);
    let matches = match matches {
        // Help names every variable.
        Err(error) if is_help(&error) => command.clone().try_get_matches_from(words),
        matches => matches,
    };
    let parsed = matches.and_then(|matches: ArgMatches| T::from_arg_matches(&matches));
    parsed.map_err(|error| {
        let secrets = secret_options(&command);
        name_variable(error, &secrets, &command, words)
    })
}

/// The command without the environment variables that are set to nothing: they count as not set, as Compose and shells
/// write them.
fn without_empty_variables(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let value = arg.get_env().and_then(std::env::var_os);
        if value.is_some_and(|value| value.is_empty()) {
            arg.env(Resettable::Reset)
        } else {
            arg
        }
    });
    command.mut_subcommands(without_empty_variables)
}

/// The options whose values are never shown: those whose values from the environment help hides.
fn secret_options(command: &Command) -> BTreeSet<String> {
    let own = command.get_arguments();
    let own = own.filter(|arg| arg.is_hide_env_values_set());
    let own = own.filter_map(|arg| arg.get_long().map(|long| format!("--{long}")));
    let below = command.get_subcommands().flat_map(secret_options);
    own.chain(below).collect()
}

/// An error that does not repeat the wrong value of a secret.
fn without_secret(mut error: clap::Error, secrets: &BTreeSet<String>) -> clap::Error {
    let is_secret = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) => {
            let name = arg.split([' ', '=']).next().unwrap_or_default();
            secrets.contains(name)
        }
        _ => false,
    };
    if is_secret && error.get(ContextKind::InvalidValue).is_some() {
        let hidden = ContextValue::String("[hidden]".to_owned());
        error.insert(ContextKind::InvalidValue, hidden);
    }
    error
}

/// How a program ends that serves: an error is one line on standard error, in the form of the log.
#[must_use]
pub fn exit_code(result: &anyhow::Result<()>, format: LogFormat) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    eprintln!("{}", last_line(&format!("{error:#}"), format));
    ExitCode::FAILURE
}

/// What ends a program, in one line.
fn last_line(text: &str, format: LogFormat) -> String {
    let text = text.replace(['\r', '\n'], " ");
    match format {
        LogFormat::Text => format!("error: {text}"),
        LogFormat::Json => serde_json::json!({
            "timestamp": chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
            "level": "ERROR",
            "fields": {"message": text},
            "target": env!("CARGO_CRATE_NAME"),
        })
        .to_string(),
    }
}

/// The first line of what clap says, which holds the option and what is wrong with it, and the way to more help.
#[must_use]
pub fn explain(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut parts = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:"))
        .filter(|line| !line.is_empty());
    let first = parts
        .next()
        .unwrap_or("error: the command line is wrong")
        .to_owned();
    let rest: Vec<&str> = parts
        .filter(|line| !line.starts_with("For more information"))
        .collect();
    if rest.is_empty() {
        first
    } else {
        format!("{first} ({})", rest.join(", "))
    }
}

/// The same error with the name of the environment variable in the option's place, if the wrong value came from there.
fn name_variable(
    error: clap::Error,
    secrets: &BTreeSet<String>,
    command: &Command,
    words: &[OsString],
) -> clap::Error {
    let (Some(ContextValue::String(shown)), Some(ContextValue::String(value))) = (
        error.get(ContextKind::InvalidArg),
        error.get(ContextKind::InvalidValue),
    ) else {
        return without_secret(error, secrets);
    };
    let mut words_of = shown.trim_start_matches('-').split([' ', '=', '[']);
    let long = words_of.next().unwrap_or_default();
    let is_given = words.iter().filter_map(|word| word.to_str()).any(|word| {
        let name = word.strip_prefix("--");
        name.is_some_and(|name| name.split('=').next() == Some(long))
    });
    let variable = variable_of(command, long).filter(|variable| {
        let set = std::env::var(variable);
        !is_given && set.is_ok_and(|set| set.split(',').any(|part| part == value.as_str()))
    });
    let Some(variable) = variable else {
        return without_secret(error, secrets);
    };
    let (shown, kind) = (shown.clone(), error.kind());
    let text = explain(&without_secret(error, secrets));
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let text = text.replace(
        &format!("'{shown}'"),
        &format!("the environment variable {variable}"),
    );
    clap::Error::raw(kind, text)
}

/// The environment variable of an option, in whichever command has it.
fn variable_of(command: &Command, long: &str) -> Option<String> {
    let own = option(command, long).and_then(Arg::get_env);
    match own.and_then(|variable| variable.to_str()) {
        Some(variable) => Some(variable.to_owned()),
        None => command
            .get_subcommands()
            .find_map(|sub| variable_of(sub, long)),
    }
}

/// Cancels `stop` on the first SIGTERM or Ctrl-C.
///
/// # Errors
/// The process may not handle signals.
pub fn stop_on_signals(stop: CancellationToken) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop");
        stop.cancel();
    });
    Ok(())
}

/// Turns the values of the file into defaults.
fn with_file_defaults(mut command: Command, words: &[OsString]) -> Result<Command, clap::Error> {
    let Some(path) = file_path(words) else {
        return Ok(command);
    };
    let wrong = |message: String| clap::Error::raw(ErrorKind::InvalidValue, message);
    let text = read_text(&path, MAX_FILE_BYTES).map_err(|error| {
        wrong(format!(
            "the configuration file {} cannot be read: {error}",
            path.display()
        ))
    })?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| {
        wrong(format!(
            "the configuration file {} is not TOML: {}",
            path.display(),
            error.message()
        ))
    })?;
    for key in table.keys() {
        if !knows(&command, key) {
            return Err(wrong(format!(
                "the configuration file {} has the unknown setting `{key}`",
                path.display()
            )));
        }
    }
    for (key, value) in &table {
        let values = Values::of(value).and_then(|values| match values {
            Values::List(_) if !takes_list(&command, key) => Err("takes one value, not a list"),
            values => Ok(values),
        });
        match values {
            Ok(values) => command = apply(command, key, &values),
            Err(reason) => {
                return Err(wrong(format!(
                    "the setting `{key}` of the configuration file {} {reason}",
                    path.display()
                )));
            }
        }
    }
    Ok(command)
}

/// What a key of the file is set to, in the words of the command line.
enum Values {
    One(String),
    List(Vec<String>),
}

impl Values {
    fn of(value: &toml::Value) -> Result<Self, &'static str> {
        let scalar = |value: &toml::Value| match value {
            toml::Value::String(text) => Some(text.clone()),
            toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => {
                Some(value.to_string())
            }
            toml::Value::Datetime(time) => Some(time.to_string()),
            toml::Value::Array(_) | toml::Value::Table(_) => None,
        };
        match value {
            toml::Value::Array(list) => list
                .iter()
                .map(scalar)
                .collect::<Option<Vec<String>>>()
                .map(Self::List)
                .ok_or("must be a list of texts or numbers, without lists or tables in it"),
            toml::Value::Table(_) => Err("must be a text, a number or a list, not a table"),
            value => scalar(value).map(Self::One).ok_or("cannot be read"),
        }
    }
}

/// Makes the values the defaults of an option, in each command that has it and takes as many.
fn apply(mut command: Command, key: &str, values: &Values) -> Command {
    let names: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    for name in names {
        command = command.mut_subcommand(name, |sub| apply(sub, key, values));
    }
    let arg = option(&command, key).map(|arg| (arg.get_id().clone(), is_list(arg)));
    match (arg, values) {
        (Some((id, _)), Values::One(text)) => command.mut_arg(id, |arg| {
            // Help is pasted into tickets: what the environment may not show, the file may not either.
            let is_secret = arg.is_hide_env_values_set();
            arg.default_value(text.clone())
                .hide_default_value(is_secret)
                .required(false)
        }),
        (Some((id, true)), Values::List(list)) if !list.is_empty() => {
            command.mut_arg(id, |arg| arg.default_values(list.clone()).required(false))
        }
        _ => command,
    }
}

fn option<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(key))
}

/// True for an option that may be repeated.
fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

fn takes_list(command: &Command, key: &str) -> bool {
    option(command, key).is_some_and(is_list)
        || command.get_subcommands().any(|sub| takes_list(sub, key))
}

fn knows(command: &Command, key: &str) -> bool {
    option(command, key).is_some() || command.get_subcommands().any(|sub| knows(sub, key))
}

/// The file that `--config` or `OPB_CONFIG` names.
fn file_path(words: &[OsString]) -> Option<PathBuf> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--config" {
            return words.next().map(PathBuf::from);
        }
        if let Some(path) = word
            .to_str()
            .and_then(|word| word.strip_prefix("--config="))
        {
            return Some(PathBuf::from(path));
        }
    }
    let path = std::env::var_os("OPB_CONFIG").map(PathBuf::from);
    path.filter(|path| !path.as_os_str().is_empty())
}

/// The option that names the configuration file; its value is read before the others are parsed.
#[derive(Debug, Clone, Args)]
pub struct FileSettings {
    /// TOML file with settings; its keys are the long options, and an option that may be repeated takes a list
    #[arg(
        long,
        env = "OPB_CONFIG",
        value_name = "FILE",
        global = true,
        help_heading = "Global options"
    )]
    pub config: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        file: FileSettings,
        #[command(flatten)]
        database: DatabaseSettings,
    }

    fn parse(words: &[&str]) -> Result<Program, String> {
        let words: Vec<OsString> = std::iter::once("program")
            .chain(words.iter().copied())
            .map(OsString::from)
            .collect();
        try_parse(&words).map_err(|error| explain(&error))
    }

    #[test]
    fn neither_help_nor_errors_show_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("opb.toml");
        std::fs::write(&path, "database-url = 'postgres://ada:SECRET@host/x'\n").unwrap();
        let path = path.to_str().unwrap();
        let help = parse(&["--config", path, "--help"]).unwrap_err();
        assert!(!help.contains("SECRET"), "{help}");
        let mut command = Program::command();
        let mut error = clap::Error::new(ErrorKind::ValueValidation).with_cmd(&command);
        let text = |text: &str| ContextValue::String(text.to_owned());
        error.insert(ContextKind::InvalidArg, text("--database-url <URL>"));
        error.insert(ContextKind::InvalidValue, text("SECRET"));
        command.build();
        let error = without_secret(error, &secret_options(&command)).to_string();
        assert!(
            error.contains("--database-url") && !error.contains("SECRET"),
            "{error}"
        );
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("opb.toml");
        std::fs::write(
            &path,
            "database-url = 'postgres://file'\ndatabase-connections = 3\n",
        )
        .unwrap();
        let path = path.to_str().unwrap();
        let program = parse(&["--config", path]).unwrap();
        assert_eq!(program.database.database_connections, 3);
        let program = parse(&["--config", path, "--database-connections", "4"]).unwrap();
        assert_eq!(program.database.database_connections, 4);
        assert!(program.file.config.is_some());
    }

    #[derive(Debug, Parser)]
    struct Nested {
        #[command(flatten)]
        file: FileSettings,
        #[command(subcommand)]
        command: Action,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Action {
        Ask {
            #[arg(long = "prompt", required = true, value_delimiter = ',')]
            prompts: Vec<String>,
            #[arg(long = "param")]
            parameters: Vec<String>,
            #[arg(long)]
            limit: Option<i32>,
            #[arg(long)]
            quick: bool,
        },
        Show {
            #[arg(long)]
            prompt: Option<String>,
        },
    }

    /// Prompts, parameters, the limit and whether it is quick.
    type Asked = (Vec<String>, Vec<String>, Option<i32>, bool);

    /// What `ask` is asked where the file says this.
    fn ask(file: &str, words: &[&str]) -> Result<Asked, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("opb.toml");
        std::fs::write(&path, file).unwrap();
        let words: Vec<OsString> = ["opb", "--config", path.to_str().unwrap()]
            .into_iter()
            .chain(words.iter().copied())
            .map(OsString::from)
            .collect();
        let parsed: Nested = try_parse(&words).map_err(|error| explain(&error))?;
        match parsed.command {
            Action::Ask {
                prompts,
                parameters,
                limit,
                quick,
            } => Ok((prompts, parameters, limit, quick)),
            Action::Show { prompt } => Ok((prompt.into_iter().collect(), Vec::new(), None, false)),
        }
    }

    #[test]
    fn a7_lists_of_the_file_are_lists() {
        let list = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>()
        };
        let file = "prompt = ['a', 'b']\nparam = ['temperature=0', 'stop=[\"x,y\"]']\nlimit = 3\nquick = true\n";
        let expect = (
            list(&["a", "b"]),
            list(&["temperature=0", "stop=[\"x,y\"]"]),
            Some(3),
            true,
        );
        assert_eq!(ask(file, &["ask"]).unwrap(), expect);
        assert_eq!(ask("prompt = 'a,b'", &["ask"]).unwrap().0, ["a", "b"]);
        assert_eq!(
            ask("prompt = [1, 2.5, true]", &["ask"]).unwrap().0,
            ["1", "2.5", "true"]
        );
        // The command line replaces the list, and a command that takes one value takes none of a list.
        assert_eq!(ask(file, &["ask", "--prompt", "c"]).unwrap().0, ["c"]);
        assert!(ask(file, &["show"]).unwrap().0.is_empty());
        for (file, expect) in [
            ("limit = [1]", "`limit` of the configuration file"),
            ("prompt = [['a']]", "`prompt` of the configuration file"),
            ("prompt = {a = 1}", "not a table"),
            ("prompt = 'a'\nlimit = 'many'", "--limit"),
            ("prompt = 'a'\nquick = 'perhaps'", "--quick"),
        ] {
            let refused = ask(file, &["ask"]).unwrap_err();
            assert!(refused.contains(expect), "{refused}");
        }
    }

    #[test]
    fn a_password_can_come_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "a&b c/d@e%\n").unwrap();
        let words = [
            "--database-url",
            "postgres://opb:old@db.lan/opb",
            "--database-password-file",
        ];
        let words = [&words[..], &[file.to_str().unwrap()]].concat();
        let address = parse(&words).unwrap().database.address().unwrap();
        let url = Url::parse(address.expose_secret()).unwrap();
        let pairs: Vec<_> = url.query_pairs().collect();
        assert_eq!(pairs, [("password".into(), "a&b c/d@e%".into())]);
        // What the driver makes of it: its address as text repeats no password, so ask for the rest.
        let options: sqlx::postgres::PgConnectOptions = address.expose_secret().parse().unwrap();
        assert_eq!(
            (options.get_host(), options.get_username()),
            ("db.lan", "opb")
        );
        std::fs::remove_file(&file).unwrap();
        let error = parse(&words).unwrap().database.address().unwrap_err();
        assert!(error.to_string().contains("cannot be read"), "{error}");
    }

    #[test]
    fn a_bad_setting_is_one_clear_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("opb.toml");
        std::fs::write(&path, "database-conns = 3\n").unwrap();
        let check = |words: &[&str], expect: &str| {
            let line = parse(words).unwrap_err();
            assert!(!line.contains('\n') && line.contains(expect), "{line}");
        };
        check(
            &["--config", path.to_str().unwrap()],
            "unknown setting `database-conns`",
        );
        check(&["--config", "/nowhere/opb.toml"], "cannot be read");
        check(&["--config", "/dev/zero"], "it is larger than 1024 KiB");
        check(
            &[
                "--database-url",
                "postgres://x",
                "--database-connections",
                "many",
            ],
            "--database-connections",
        );
        check(
            &[
                "--database-url",
                "postgres://x",
                "--database-connections",
                "0",
            ],
            "1..=1000",
        );
        check(&["--data-url", "postgres://x"], "--data-url");
    }
}
