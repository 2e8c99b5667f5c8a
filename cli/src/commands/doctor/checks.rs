//! The checks. Each looks at one thing and changes nothing.

use std::{path::Path, time::Duration};

use opb_core::{auth::User, database, library::Page, models::Provider, sealing};
use reqwest::StatusCode;
use secrecy::SecretString;
use serde_json::Value;
use sqlx::PgPool;

use super::Check;
use crate::{child, client::ClientSettings, data_folder::DataFolder, postgres, text};

/// The versions of Postgres that are supported, the second one excluded, as the server counts them.
const VERSIONS: std::ops::Range<i32> = 150_000..190_000;
/// Less free space than this is worth a warning, in bytes.
const LITTLE_SPACE: u64 = 2 << 30;
/// How long a provider may take to show that it is there.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(3);

/// A wrong configuration file does not come this far: parsing the command line refuses it.
pub(super) fn check_config(config: Option<&Path>) -> Check {
    match config {
        Some(path) => Check::ok("configuration", format!("{} is valid", path.display())),
        None => Check::ok(
            "configuration",
            "no file; the command line and the environment are used",
        ),
    }
}

pub(super) fn check_folder(folder: &DataFolder) -> Check {
    let path = folder.path();
    let shown = path.display();
    match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Check::ok(
            "data folder",
            format!("{shown} does not exist yet; `opb up` makes it"),
        ),
        Err(error) => Check::fail(
            "data folder",
            format!("{shown}: {error}"),
            "choose another folder with --data",
        ),
        Ok(metadata) if !metadata.is_dir() => Check::fail(
            "data folder",
            format!("{shown} is not a folder"),
            "move it away, or choose another folder with --data",
        ),
        Ok(_) => match tempfile::tempfile_in(path) {
            Ok(_) => Check::ok("data folder", format!("{shown} is there and writable")),
            Err(error) => Check::fail(
                "data folder",
                format!("{shown} is not writable: {error}"),
                "run opb as the user who owns it, or choose another folder with --data",
            ),
        },
    }
}

/// Files that only their owner may read.
pub(super) fn check_secrets(folder: &DataFolder) -> Vec<Check> {
    let files = [
        (folder.master_key_file(), "master key"),
        (folder.api_key_file(), "API key"),
    ];
    let mut checks = Vec::new();
    for (file, what) in files {
        let Ok(metadata) = file.metadata() else {
            continue;
        };
        if let Err(error) = sealing::require_private(&file, what, &metadata) {
            checks.push(Check::fail(
                "secrets",
                error.to_string(),
                format!("chmod 600 {}", file.display()),
            ));
        }
    }
    checks
}

pub(super) async fn check_disk(folder: &DataFolder) -> Check {
    // The folder may not be there yet: what counts is the disk on which it will be.
    let Some(place) = folder.path().ancestors().find(|place| place.exists()) else {
        return Check::warn(
            "disk",
            "the free space is not known",
            "check the path of the data folder",
        );
    };
    let output = child::awaited("df").arg("-Pk").arg(place).output().await;
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    let kibibytes = text
        .lines()
        .nth(1)
        .and_then(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok());
    let Some(bytes) = kibibytes.map(|kibibytes| kibibytes << 10) else {
        return Check::warn("disk", "the free space is not known", "look at it with: df");
    };
    let mebibytes = bytes >> 20;
    let message = format!(
        "{}.{} GiB are free",
        mebibytes / 1024,
        mebibytes % 1024 * 10 / 1024
    );
    if bytes < LITTLE_SPACE {
        return Check::warn(
            "disk",
            message,
            "make room, or choose a folder on another disk with --data",
        );
    }
    Check::ok("disk", message)
}

/// The programs of an embedded Postgres.
pub(super) fn check_programs(folder: &DataFolder) -> Check {
    match postgres::installed_version(folder.path()) {
        Ok(Some((version, programs))) => Check::ok(
            "postgres",
            format!("embedded, version {version} from {}", programs.display()),
        ),
        Ok(None) => Check::warn(
            "postgres",
            "no Postgres is installed; `opb up` will download one",
            "install it (on Debian: apt-get install postgresql), or set DATABASE_URL",
        ),
        Err(error) => Check::fail("postgres", error.to_string(), "see the message"),
    }
}

/// A Postgres server of the user's own.
pub(super) async fn check_database(url: &SecretString) -> Vec<Check> {
    let pool = match database::connect(url, 1, "opb doctor").await {
        Ok(pool) => pool,
        Err(error) => {
            let mend = "check the address, the password and whether the server runs";
            return vec![Check::fail("database", format!("{error:#}"), mend)];
        }
    };
    vec![check_version(&pool).await, check_migrated(&pool).await]
}

async fn check_version(pool: &PgPool) -> Check {
    // Not a checked query: it says nothing about our tables.
    let asked = sqlx::query_as::<_, (i32, String)>(
        "select current_setting('server_version_num')::int, current_setting('server_version')",
    );
    match asked.fetch_one(pool).await {
        Ok((number, version)) if VERSIONS.contains(&number) => {
            Check::ok("database", format!("Postgres {}", text::plain(&version)))
        }
        Ok((_, version)) => Check::fail(
            "database",
            format!("Postgres {} is not supported", text::plain(&version)),
            "use a server of version 15, 16, 17 or 18",
        ),
        Err(error) => Check::fail("database", error.to_string(), "check the server's log"),
    }
}

async fn check_migrated(pool: &PgPool) -> Check {
    let migrated = async {
        let mut conn = pool.acquire().await.map_err(opb_core::Error::from)?;
        database::is_migrated(&mut conn).await
    };
    match migrated.await {
        Ok(true) => Check::ok("schema", "up to date"),
        Ok(false) => Check::fail("schema", "older than this program", "opb migrate"),
        Err(error) => Check::fail(
            "schema",
            error.to_string(),
            "check that the user may read the database",
        ),
    }
}

/// The server and, if it lets us in, its providers.
pub(super) async fn check_server(settings: &ClientSettings) -> Vec<Check> {
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
        // Nobody expects a local bank to serve all the time; a server that was named is expected to.
        return vec![if settings.url.is_some() {
            Check::fail(
                "server",
                error.to_string(),
                "check the address, and start the server",
            )
        } else {
            Check::warn(
                "server",
                format!("none serves at {}", client.url()),
                "opb up",
            )
        }];
    }
    let mut checks = vec![Check::ok("server", format!("ready at {}", client.url()))];
    match client.get::<User>("/api/v1/me").await {
        Ok(user) => checks.push(Check::ok(
            "key",
            format!("valid, of the user {}", text::plain(&user.username)),
        )),
        Err(error) => {
            checks.push(Check::fail(
                "key",
                error.to_string(),
                "give a valid key with --api-key or OPB_API_KEY",
            ));
            return checks;
        }
    }
    match client
        .get::<Page<Provider>>("/api/v1/providers?limit=100")
        .await
    {
        Ok(page) => checks.extend(check_providers(page.items).await),
        Err(error) => checks.push(Check::fail(
            "providers",
            error.to_string(),
            "check the server's log",
        )),
    }
    checks
}

async fn check_providers(providers: Vec<Provider>) -> Vec<Check> {
    let Ok(http) = reqwest::Client::builder().timeout(PROVIDER_TIMEOUT).build() else {
        return vec![Check::warn(
            "providers",
            "cannot be asked",
            "check the network of this machine",
        )];
    };
    futures::future::join_all(
        providers
            .iter()
            .map(|provider| check_provider(&http, provider)),
    )
    .await
}

/// Asks a provider from this machine, without its credential: a refusal shows that it is there.
async fn check_provider(http: &reqwest::Client, provider: &Provider) -> Check {
    let name = text::plain(&provider.name);
    let Some(base_url) = &provider.base_url else {
        let what = if provider.kind.is_remote() {
            "its address is for administrators only"
        } else {
            "inside the worker, always there"
        };
        return Check::ok("provider", format!("{name}: {what}"));
    };
    let shown = text::plain(base_url);
    match http
        .get(format!("{base_url}/models"))
        .send()
        .await
        .map(|response| response.status())
    {
        Ok(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
            if provider.credential_hint.is_none() =>
        {
            Check::warn(
                "provider",
                format!("{name}: reachable, but it wants a credential and none is stored"),
                "store one with: opb provider set-key; or, for a provider that is a preset, set its variable where the worker runs (opb provider presets)",
            )
        }
        Ok(status) if status.is_server_error() => Check::warn(
            "provider",
            format!("{name}: {shown} answers {status}"),
            "look at the provider's own log or status page",
        ),
        Ok(_) => Check::ok("provider", format!("{name}: reachable at {shown}")),
        Err(_) => Check::warn(
            "provider",
            format!("{name}: not reachable from this machine at {shown}"),
            "check the address and the network; runs on other providers are not affected",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::Verdict;

    #[tokio::test]
    async fn a_server_that_was_named_must_answer() {
        let settings = |url: Option<&str>, data: &Path| ClientSettings {
            url: url.map(str::to_owned),
            api_key: None,
            data: Some(data.to_owned()),
        };
        let temp = tempfile::tempdir().unwrap();
        let named = check_server(&settings(Some("http://127.0.0.1:1"), temp.path())).await;
        assert_eq!(named[0].verdict, Verdict::Fail);
        DataFolder::new(Some(temp.path()))
            .write_url("http://127.0.0.1:1")
            .unwrap();
        let found = check_server(&settings(None, temp.path())).await;
        assert_eq!(
            (found[0].verdict, found[0].mend.as_deref()),
            (Verdict::Warn, Some("opb up"))
        );
    }

    #[tokio::test]
    async fn folders_and_disks_are_looked_at() {
        let temp = tempfile::tempdir().unwrap();
        let folder = DataFolder::new(Some(temp.path()));
        assert_eq!(check_folder(&folder).verdict, Verdict::Ok);
        assert_ne!(check_disk(&folder).await.verdict, Verdict::Fail);
        let file = temp.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(
            check_folder(&DataFolder::new(Some(&file))).verdict,
            Verdict::Fail
        );
    }
}
