//! Settings as programs have them: options of their own, commands below them, and a file.

use std::{ffi::OsString, os::unix::fs::PermissionsExt};

use clap::{
    CommandFactory as _, Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};
use secrecy::ExposeSecret as _;
use url::Url;

use crate::{
    DatabaseSettings, FileSettings,
    errors::{explain, secret_options, without_secret},
    try_parse,
};

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
    let mode = |mode| std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
    let words = [
        "--database-url",
        "postgres://opb:old@db.lan/opb",
        "--database-password-file",
    ];
    let words = [&words[..], &[file.to_str().unwrap()]].concat();
    mode(0o644);
    let error = parse(&words).unwrap().database.address().unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
    mode(0o600);
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
