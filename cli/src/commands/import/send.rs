//! Sends a benchmark: in one request if it fits, else in parts, straight from its file.
//!
//! The file is read twice: first to check and measure it, so that an existing version is not sent again, then to send
//! it. An interrupted import continues when the same benchmark is sent again.

use anyhow::Context as _;
use opb_api::routes::imports::BegunImport;
use opb_core::{
    auth::Visibility,
    benchmarks::{
        BenchmarkVersion, Content, Definition, Import, Item, Measure, NewImport, PublishImport,
    },
};

use super::progress::SentBytes;
use crate::{client::Client, outcome::BadUsage, packs::FolderPack};

/// Maximum number of bytes of items in one request; only the last item of a part may exceed it. By default a server
/// accepts 8 MiB.
const REQUEST_BYTES: u64 = 4 << 20;

/// Sends the benchmark of a pack, with at most `limit` items, and returns its version. With `quiet`, progress is shown
/// only on a terminal.
///
/// # Errors
/// [`BadUsage`] for an invalid item; the server does not answer, or rejects the request.
pub async fn send(
    client: &Client,
    pack: &FolderPack,
    limit: Option<usize>,
    visibility: Option<Visibility>,
    quiet: bool,
) -> anyhow::Result<BenchmarkVersion> {
    let refuse = |error: anyhow::Error| BadUsage(format!("{error:#}"));
    let (content, items) = look_through(pack, limit).map_err(refuse)?;
    let definition = Definition {
        visibility: visibility.or(pack.header.visibility),
        ..pack.header.clone().with_items(items.unwrap_or_default())
    };
    if !definition.items.is_empty() || content.item_count == 0 {
        return client.post("/api/v1/benchmarks", &definition).await;
    }
    let new = NewImport {
        slug: definition.slug,
        title: definition.title,
        description: definition.description,
        source: definition.source,
        visibility: definition.visibility,
        scorers: definition.scorers,
        content_hash: Some(content.hex()),
    };
    let begun: BegunImport = client.post("/api/v1/imports", &new).await?;
    if let Some(version) = begun.version {
        return Ok(version);
    }
    let import = begun.import.context("the server did not begin an import")?;
    let progress = SentBytes::new(content.size_bytes, quiet);
    let sent = send_parts(client, pack, limit, import, &content, progress).await;
    sent.context("run the same command again to continue the import")
}

/// Reads and checks all items, and keeps them if they fit into one request.
fn look_through(
    pack: &FolderPack,
    limit: Option<usize>,
) -> anyhow::Result<(Content, Option<Vec<Item>>)> {
    let mut measure = Measure::new(&pack.header.scorers)?;
    let mut kept = Some(Vec::new());
    let mut kept_bytes = 0;
    for item in pack.items(limit)? {
        let item = item?;
        kept_bytes += measure.add(&as_received(&item)?)?;
        if let Some(items) = &mut kept {
            items.push(item);
        }
        if kept_bytes > REQUEST_BYTES {
            kept = None;
        }
    }
    let content = measure.finish();
    content.check()?;
    Ok((content, kept))
}

/// The item as the server will read it, whose hash counts: parsing a number may change its last digit.
fn as_received(item: &Item) -> anyhow::Result<Item> {
    Ok(serde_json::from_slice(&serde_json::to_vec(item)?)?)
}

async fn send_parts(
    client: &Client,
    pack: &FolderPack,
    limit: Option<usize>,
    mut import: Import,
    content: &Content,
    mut progress: SentBytes,
) -> anyhow::Result<BenchmarkVersion> {
    let address = format!("/api/v1/imports/{}", import.id);
    let come = usize::try_from(import.item_count)?;
    let mut items = pack.items(limit)?.skip(come);
    loop {
        progress.show(&import);
        let part = next_part(&mut items)?;
        if part.is_empty() {
            break;
        }
        let path = format!("{address}/parts/{}", import.parts + 1);
        import = client.put_lines(&path, part).await?;
    }
    progress.finish();
    let all = PublishImport {
        item_count: i32::try_from(content.item_count)?,
        content_hash: Some(content.hex()),
    };
    client.post(&format!("{address}/publish"), &all).await
}

/// The next items as JSON Lines, up to about the size of one request.
fn next_part(items: &mut impl Iterator<Item = anyhow::Result<Item>>) -> anyhow::Result<Vec<u8>> {
    let mut part = Vec::new();
    while (part.len() as u64) < REQUEST_BYTES
        && let Some(item) = items.next()
    {
        serde_json::to_writer(&mut part, &item?)?;
        part.push(b'\n');
    }
    Ok(part)
}
