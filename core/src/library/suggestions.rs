//! Help with words: prompts while somebody types, and the word that a misspelt one was meant to be.
//!
//! The words of public prompts are kept in a table of their own. They only ever lead to a prompt that the caller may
//! find; none is shown by itself, as a word may have stopped being public.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::{Error, Result, auth::CurrentUser};

/// The most suggestions.
const SUGGESTIONS: i64 = 8;
/// The most words of a query that are corrected.
const CORRECTIONS: usize = 3;

/// A prompt that somebody who types may mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Suggestion {
    /// The prompt's slug.
    pub slug: String,
    /// The prompt's title.
    pub title: String,
}

/// Prompts whose title, tags or description have the words, the last of which may be unfinished; newest first.
///
/// # Errors
/// [`Error::Invalid`] for too long a text.
pub async fn suggest_prompts(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    text: &str,
) -> Result<Vec<Suggestion>> {
    if text.chars().count() > 200 {
        return Err(Error::invalid("q", "must have at most 200 characters"));
    }
    let mut words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let Some(unfinished) = words.pop() else {
        return Ok(Vec::new());
    };
    let mut endings = completions(conn, &unfinished).await?;
    // What is indexed are stems, so that the finished words are looked for beside the unfinished one.
    endings.retain(|word| *word != unfinished);
    let suggestions = sqlx::query_as!(
        Suggestion,
        r#"-- suggestions::suggest_prompts
        select slug, title
        from prompts
        where deleted_at is null and archived_at is null and is_listed(visibility, owner_id, $1)
          and head @@ (plainto_tsquery('english', $2)
                       && (to_tsquery('simple', $3) || plainto_tsquery('english', $4) || plainto_tsquery('english', $5)
                           || plainto_tsquery('english', $6)))
        order by id desc
        limit $7"#,
        viewer.map(|user| user.id),
        words.join(" "),
        format!("{unfinished}:*"),
        endings.first().map_or("", String::as_str),
        endings.get(1).map_or("", String::as_str),
        endings.get(2).map_or("", String::as_str),
        SUGGESTIONS
    )
    .fetch_all(conn)
    .await?;
    Ok(suggestions)
}

/// The query with its misspelt words replaced; nothing when there is nothing to replace.
pub(super) async fn correct(conn: &mut PgConnection, query: &str) -> Result<Option<String>> {
    let mut corrected = query.to_owned();
    let words = query.split(|c: char| !c.is_alphabetic());
    for word in words
        .filter(|word| word.chars().count() >= 4)
        .take(CORRECTIONS)
    {
        // Planned for any word: for one that is known, Postgres takes comparing it with all of them for cheap.
        let nearest = sqlx::query_scalar!(
            "-- suggestions::correct
            select word
            from prompt_words
            where word % (select $1)
            order by similarity(word, $1) desc, word
            limit 1",
            word.to_lowercase()
        )
        .fetch_optional(&mut *conn)
        .await?;
        if let Some(nearest) = nearest
            && nearest != word.to_lowercase()
        {
            corrected = corrected.replacen(word, &nearest, 1);
        }
    }
    Ok((corrected != query).then_some(corrected))
}

/// Some words that begin like this one.
async fn completions(conn: &mut PgConnection, start: &str) -> Result<Vec<String>> {
    // One letter begins too many words to mean one of them.
    if start.chars().count() < 3 {
        return Ok(Vec::new());
    }
    let words = sqlx::query_scalar!(
        r#"-- suggestions::completions
        select word from prompt_words where word ^@ $1 order by char_length(word), word limit 4"#,
        start
    )
    .fetch_all(conn)
    .await?;
    Ok(words)
}
