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
/// So many similar words are looked at for each.
const CANDIDATES: i64 = 50;

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

/// The words of a query that are long enough to be misspelt, at most as many as are corrected.
pub(super) fn doubtful_words(query: &str) -> impl Iterator<Item = &str> {
    query
        .split(|c: char| !c.is_alphabetic())
        .filter(|word| word.chars().count() >= 4)
        .take(CORRECTIONS)
}

/// The word that a misspelt one was meant to be. Trigrams find those that come into question, but one slip of the
/// fingers changes three of them: which of these is nearest is told by the number of slips.
pub(super) async fn nearest_word(conn: &mut PgConnection, word: &str) -> Result<Option<String>> {
    let word = word.to_lowercase();
    let similar = sqlx::query_scalar!(
        "-- suggestions::nearest_word
        select word
        from prompt_words
        where word % (select $1)
        order by similarity(word, $1) desc, word
        limit $2",
        word,
        CANDIDATES
    )
    .fetch_all(conn)
    .await?;
    // Of equals the first, which is the most similar one.
    Ok(similar
        .into_iter()
        .min_by_key(|other| strsim::osa_distance(&word, other)))
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
