//! The packs that are built into the program.

use std::path::Path;

use anyhow::Context as _;
use include_dir::{Dir, include_dir};
use opb_core::{
    auth::{self, Visibility},
    benchmarks::{PackHeader, publish_benchmark},
    library::{NewPrompt, ensure_prompt},
};
use sqlx::PgConnection;

use super::{HEADER_NAMES, Pack, parse_prompt};

/// The benchmark of the demonstration.
pub const FIRST_BENCHMARK: &str = "first-steps";

static BENCHMARKS: Dir = include_dir!("$CARGO_MANIFEST_DIR/../benchmarks");

/// All built-in packs, by the name of their folder.
///
/// # Errors
/// A pack does not parse; tests ensure that this cannot happen.
pub fn built_in_packs() -> anyhow::Result<Vec<Pack>> {
    let mut folders: Vec<&Dir> = BENCHMARKS.dirs().collect();
    folders.sort_by_key(|folder| folder.path());
    folders
        .into_iter()
        .filter_map(|folder| read(folder).transpose())
        .collect()
}

/// Publishes the built-in benchmarks and prompts as the system user. Existing ones stay unchanged.
///
/// # Errors
/// The database does not answer, or a slug belongs to another user.
pub async fn load_built_in(conn: &mut PgConnection) -> anyhow::Result<()> {
    let owner = auth::system_user(conn).await?;
    for pack in built_in_packs()? {
        let slug = &pack.header.slug;
        for prompt in &pack.prompts {
            ensure_prompt(conn, &owner, prompt.clone())
                .await
                .with_context(|| format!("a built-in prompt of `{slug}`"))?;
        }
        let Some(definition) = pack.definition(None)? else {
            tracing::debug!(benchmark = %slug, "the items are not part of the program, only the prompts are loaded");
            continue;
        };
        publish_benchmark(conn, &owner, &definition.checked()?, Visibility::default())
            .await
            .with_context(|| format!("the built-in benchmark `{slug}`"))?;
    }
    Ok(())
}

fn read(folder: &Dir) -> anyhow::Result<Option<Pack>> {
    let file = |name: &str| folder.get_file(folder.path().join(name));
    let Some((name, header)) = HEADER_NAMES
        .iter()
        .find_map(|name| Some((name, file(name)?)))
    else {
        return Ok(None);
    };
    let at = folder.path().display();
    let header = PackHeader::parse(
        name,
        header.contents_utf8().context("a header is not UTF-8")?,
    )
    .with_context(|| format!("the built-in pack {at}"))?;
    let items = file(&header.items.file)
        .and_then(|file| file.contents_utf8())
        .map(str::to_owned);
    Ok(Some(Pack {
        items,
        prompts: read_prompts(folder)?,
        header,
    }))
}

fn read_prompts(folder: &Dir) -> anyhow::Result<Vec<NewPrompt>> {
    let Some(folder) = folder.get_dir(folder.path().join("prompts")) else {
        return Ok(Vec::new());
    };
    let mut files: Vec<_> = folder.files().collect();
    files.sort_by_key(|file| file.path());
    let parse = |path: &Path, text: Option<&str>| {
        let name = path.display().to_string();
        parse_prompt(&name, text.with_context(|| format!("{name} is not UTF-8"))?)
    };
    files
        .into_iter()
        .map(|file| parse(file.path(), file.contents_utf8()))
        .collect()
}
