//! `opb postgres`: a throw-away Postgres for one command, for developers.

use std::{
    ffi::OsString, os::unix::fs::PermissionsExt as _, os::unix::process::ExitStatusExt as _,
};

use anyhow::Context as _;
use clap::Args;
use secrecy::ExposeSecret as _;
use tokio::{
    process::Child,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    child,
    outcome::{BadUsage, Outcome},
    postgres::Cluster,
};

/// Run a command beside a throw-away Postgres, named by `DATABASE_URL` and `OPB_TEST_DATABASE_URL` (for developers)
///
/// The data are thrown away, so the server does not wait for the disk. The exit code is the command's own. SIGINT and SIGTERM are passed on to it.
#[derive(Debug, Args)]
pub struct WithPostgres {
    /// Wait for the disk as the server of a bank does, to measure what a bank would take
    #[arg(long)]
    durable: bool,
    /// The command and its arguments, after `--`
    #[arg(value_name = "COMMAND", required = true, last = true)]
    command: Vec<OsString>,
}

impl WithPostgres {
    pub async fn execute(self) -> anyhow::Result<Outcome> {
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(BadUsage("there is no command; write it after `--`".to_owned()).into());
        };
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let folder = tempfile::Builder::new()
            .prefix("opb-postgres-")
            .tempdir()
            .context("a folder for Postgres cannot be created")?;
        // Root's server runs as another user, who needs to enter the folder.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711))?;
        let data = folder.path().join("data");
        let start = async {
            if self.durable {
                Cluster::start(&data).await
            } else {
                Cluster::start_scratch(&data).await
            }
        };
        let cluster = tokio::select! {
            cluster = start => cluster?,
            _ = interrupt.recv() => return Ok(Outcome::Interrupted),
            _ = terminate.recv() => return Ok(Outcome::Code(143)),
        };
        // Developers create their own databases and roles on it.
        let address = cluster.admin_database_url()?;
        let address = address.expose_secret();
        let child = child::inheriting(program)
            .args(arguments)
            .env("DATABASE_URL", address)
            .env("OPB_TEST_DATABASE_URL", address)
            .spawn()
            .with_context(|| format!("could not run {}", program.display()));
        let outcome = match child {
            Ok(child) => wait(child, &mut interrupt, &mut terminate).await,
            Err(error) => Err(error),
        };
        cluster.stop().await?;
        outcome
    }
}

/// Waits for the command, and forwards signals to it.
async fn wait(
    mut child: Child,
    interrupt: &mut Signal,
    terminate: &mut Signal,
) -> anyhow::Result<Outcome> {
    loop {
        tokio::select! {
            status = child.wait() => {
                let status = status.context("could not wait for the command")?;
                let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
                return Ok(Outcome::Code(u8::try_from(code).unwrap_or(1)));
            }
            _ = interrupt.recv() => pass_on(&child, "INT").await,
            _ = terminate.recv() => pass_on(&child, "TERM").await,
        }
    }
}

async fn pass_on(child: &Child, signal: &str) {
    let Some(id) = child.id() else {
        return;
    };
    // The standard library can only kill; a command that has just ended needs no signal.
    let sent = child::awaited("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", signal, &id.to_string()])
        .status()
        .await;
    if let Err(error) = sent {
        tracing::warn!(%error, "could not forward a signal to the command");
    }
}
