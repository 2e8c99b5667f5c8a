//! Loads the prompts of a page of search results. The statement is the same for every search, so that it is checked at
//! compile time and planned once.

use std::collections::HashMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{snippets::READ_CHARS, statements::Match};
use crate::{
    Result,
    auth::Visibility,
    library::{Prompt, PromptKind},
};

/// A prompt of the search results.
#[derive(Debug)]
pub(super) struct Hit {
    pub(super) prompt: Prompt,
    /// The beginning of the newest version's text, if the query has words to highlight in it.
    pub(super) text: Option<String>,
    /// The query's words as indexed.
    pub(super) lexemes: Vec<String>,
    /// The match behind it.
    pub(super) place: Match,
}

/// The prompts of these matches, in the same order. A prompt that became hidden in the meantime is left out.
pub(super) async fn load(
    conn: &mut PgConnection,
    viewer_id: Option<i64>,
    words: Option<&str>,
    matches: &[Match],
) -> Result<Vec<Hit>> {
    if matches.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = matches.iter().map(|found| found.id).collect();
    let rows = sqlx::query!(
        r#"-- hits::load
        select prompts.id, prompts.slug, prompts.title, prompts.description, prompts.category, prompts.tags,
               prompts.language, prompts.licence, prompts.attribution, prompts.kind as "kind: PromptKind",
               prompts.visibility as "visibility: Visibility", users.username as owner, prompts.latest_version,
               prompts.archived_at is not null as "archived!", prompts.created_at, prompts.updated_at,
               (select origin.slug || '@' || number
                from prompt_versions join prompts as origin on origin.id = prompt_id
                where prompt_versions.id = prompts.forked_from and origin.deleted_at is null
                  and (is_listed(origin.visibility, origin.owner_id, $2)
                       or prompts.owner_id = $2 and can_see(origin.visibility, origin.owner_id, $2, false))) as forked_from,
               (select left(coalesce(body ->> 'text', prompt_text(body)), $4) from prompt_versions
                where $3::text is not null and prompt_id = prompts.id and number = latest_version) as text,
               (select tsvector_to_array(to_tsvector('english', $3))) as lexemes
        from prompts join users on users.id = prompts.owner_id
        where prompts.id = any($1) and prompts.deleted_at is null
          and (can_see(prompts.visibility, prompts.owner_id, $2, false) or prompts.offered_to = $2)"#,
        &ids,
        viewer_id,
        words,
        READ_CHARS
    )
    .fetch_all(conn)
    .await?;
    let mut prompts: HashMap<Uuid, _> = rows.into_iter().map(|row| (row.id, row)).collect();
    let found = matches.iter().filter_map(|found| {
        let row = prompts.remove(&found.id)?;
        let prompt = Prompt {
            id: row.id,
            slug: row.slug,
            title: row.title,
            description: row.description,
            category: row.category,
            tags: row.tags,
            language: row.language,
            licence: row.licence,
            attribution: row.attribution,
            kind: row.kind,
            visibility: row.visibility,
            owner: row.owner,
            latest_version: row.latest_version,
            forked_from: row.forked_from,
            archived: row.archived,
            created_at: row.created_at,
            updated_at: row.updated_at,
        };
        Some(Hit {
            prompt,
            text: row.text,
            lexemes: row.lexemes.unwrap_or_default(),
            place: *found,
        })
    });
    Ok(found.collect())
}
