//! The checks of a server: its address, the account, live workers and schedulers, and its providers.

use opb_core::{
    auth::{User, UserRole},
    models::Provider,
    paging::Page,
    processes::{Process, ProcessKind},
};
use serde_json::Value;

use super::Check;
use crate::{
    client::{Client, ClientSettings},
    commands::provider::add::check,
    text,
};

/// The version of this program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The server and, with a valid key, the processes and providers behind it. `is_served`: a process holds the data
/// folder.
pub(super) async fn check_server(settings: &ClientSettings, is_served: bool) -> Vec<Check> {
    let client = match settings.connect() {
        Ok(client) => client,
        Err(error) => {
            return vec![Check::fail(
                "server",
                error.to_string(),
                "correct --url or OPB_URL",
            )];
        }
    };
    if let Err(error) = client.get::<Value>("/readyz").await {
        // A local bank need not be running; a server that the user named should be.
        let message = error.to_string();
        return vec![if settings.url.is_some() {
            Check::fail("server", message, "check the address, and start the server")
        } else if is_served {
            let mend = "a process holds the data folder: wait until it serves, or end it";
            Check::fail("server", message, mend)
        } else {
            Check::warn("server", message, "opb up")
        }];
    }
    let mut checks = vec![Check::ok("server", format!("ready at {}", client.url()))];
    let user = match client.get::<User>("/api/v1/me").await {
        Ok(user) => user,
        Err(error) => {
            checks.push(Check::fail(
                "key",
                error.to_string(),
                "opb login, or give a valid key with --api-key or OPB_API_KEY",
            ));
            return checks;
        }
    };
    checks.push(Check::ok(
        "key",
        format!("valid, user {}", text::plain(&user.username)),
    ));
    if user.role != UserRole::Admin {
        checks.push(Check::ok(
            "workers",
            "only administrators can see workers, schedulers and providers",
        ));
        return checks;
    }
    checks.extend(check_processes(&client).await);
    checks.extend(check_providers(&client).await);
    checks
}

/// The live workers and schedulers, and whether all have the same version.
async fn check_processes(client: &Client) -> Vec<Check> {
    let page: anyhow::Result<Page<Process>> = client.get("/api/v1/processes?limit=100").await;
    let processes = match page {
        Ok(page) => page.items,
        Err(error) => {
            // The server rejects a key without the scope `admin`.
            let mend = "use the key of an administrator with the scope admin";
            return vec![Check::warn("workers", error.to_string(), mend)];
        }
    };
    vec![
        count(
            ("workers", "worker"),
            &processes,
            ProcessKind::Worker,
            "no run makes progress: start one (opb-worker), or look at its log",
        ),
        count(
            ("schedulers", "scheduler"),
            &processes,
            ProcessKind::Scheduler,
            "schedules do not fire and nothing is cleaned up: start one (opb-scheduler), or look at its log",
        ),
    ]
}

fn count(
    (name, one): (&'static str, &str),
    processes: &[Process],
    kind: ProcessKind,
    without: &str,
) -> Check {
    let living: Vec<&Process> = processes
        .iter()
        .filter(|process| process.kind == kind)
        .collect();
    if living.is_empty() {
        return Check::fail(name, format!("no {one} has reported for 20 s"), without);
    }
    let mut versions: Vec<String> = living
        .iter()
        .map(|process| text::plain(&process.version))
        .collect();
    versions.sort_unstable();
    versions.dedup();
    let many = if living.len() == 1 { "" } else { "s" };
    let message = format!(
        "{} {one}{many}, version {}",
        living.len(),
        versions.join(", ")
    );
    match versions.as_slice() {
        [version] if version == VERSION => Check::ok(name, message),
        [_] => Check::warn(
            name,
            format!("{message}; this opb is {VERSION}"),
            "use the opb of the same version",
        ),
        _ => Check::warn(name, message, "upgrade all processes to the same version"),
    }
}

async fn check_providers(client: &Client) -> Vec<Check> {
    let page: anyhow::Result<Page<Provider>> = client.get("/api/v1/providers?limit=100").await;
    match page {
        Ok(page) => {
            let checks = page
                .items
                .iter()
                .map(|provider| check_provider(client, provider));
            futures::future::join_all(checks).await
        }
        Err(error) => vec![Check::fail(
            "providers",
            error.to_string(),
            "check the server's log",
        )],
    }
}

/// Checks a provider from the server: this machine may be in another network.
async fn check_provider(client: &Client, provider: &Provider) -> Check {
    let name = text::plain(&provider.name);
    match check(client, &provider.name).await {
        Ok(found) if found.outcome.is_usable() => Check::ok(
            "provider",
            format!("{name} {}", text::plain(&found.message)),
        ),
        Ok(found) => Check::warn(
            "provider",
            format!("{name}: {}", text::plain(&found.message)),
            "see the message; runs on other providers are not affected",
        ),
        Err(error) => Check::warn(
            "provider",
            format!("{name}: {error:#}"),
            "check the server's log",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{commands::doctor::Verdict, data_folder::DataFolder};

    #[tokio::test]
    async fn a_server_that_was_named_must_answer() {
        let settings = |url: Option<&str>, data: &Path| ClientSettings {
            url: url.map(str::to_owned),
            api_key: None,
            data: Some(data.to_owned()),
        };
        let temp = tempfile::tempdir().unwrap();
        let named = check_server(&settings(Some("http://127.0.0.1:1"), temp.path()), false).await;
        assert_eq!(named[0].verdict, Verdict::Fail);
        DataFolder::new(Some(temp.path()))
            .write_url("http://127.0.0.1:1")
            .unwrap();
        let found = check_server(&settings(None, temp.path()), false).await;
        assert_eq!(
            (found[0].verdict, found[0].mend.as_deref()),
            (Verdict::Warn, Some("opb up"))
        );
    }
}
