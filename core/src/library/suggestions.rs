//! Suggestions: prompts while a user types, and corrections of misspelt words.
//!
//! The words of public prompts are stored in their own table. They only lead to prompts that the caller may find; a
//! word itself is never shown, because it may have stopped being public.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::{Error, Result, auth::CurrentUser};

/// Maximum number of suggestions.
const SUGGESTIONS: i64 = 8;
/// Maximum number of words of a query that are checked for misspellings.
const LOOKED_UP: usize = 12;
/// Number of similar words that are compared for each.
const CANDIDATES: i64 = 50;
/// Typing errors are undone only in this many leading letters; longer words share enough trigrams.
const SLIPS_WITHIN: usize = 16;

/// A prompt that matches what the user types.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Suggestion {
    /// The prompt's slug.
    pub slug: String,
    /// The prompt's title.
    pub title: String,
}

/// Prompts whose title, tags or description have the words, the last of which may be incomplete; newest first.
///
/// # Errors
/// [`Error::Invalid`] if the text is too long.
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
    // The index holds stems, so the complete words are searched beside the incomplete one.
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

/// The positions of the words of a query that may be misspelt: words of three or more letters that no public prompt has
/// in its title, tags or description.
pub(super) async fn doubtful_words(
    conn: &mut PgConnection,
    query: &str,
) -> Result<Vec<Range<usize>>> {
    let mut words = words_of(query);
    words.truncate(LOOKED_UP);
    let lower: Vec<String> = words
        .iter()
        .map(|word| query[word.clone()].to_lowercase())
        .collect();
    let known = sqlx::query_scalar!(
        "-- suggestions::doubtful_words
        select word from prompt_words where word = any($1)",
        &lower
    )
    .fetch_all(conn)
    .await?;
    let mut lower = lower.iter();
    words.retain(|_| lower.next().is_some_and(|word| !known.contains(word)));
    Ok(words)
}

/// The positions of the words of three or more letters in a text.
fn words_of(text: &str) -> Vec<Range<usize>> {
    let mut words: Vec<Range<usize>> = Vec::new();
    for (at, letter) in text.char_indices().filter(|(_, c)| c.is_alphabetic()) {
        let end = at + letter.len_utf8();
        match words.last_mut() {
            Some(word) if word.end == at => word.end = end,
            _ => words.push(at..end),
        }
    }
    words.retain(|word| text[word.clone()].chars().count() >= 3);
    words
}

/// The most likely correction of a misspelt word. Candidates come from trigrams and, for short words, which share too
/// few trigrams after one typing error, from words that differ by one added letter or two swapped letters. The
/// candidate with the smallest edit distance wins; if that is more than half of the letters, there is none.
pub(super) async fn nearest_word(conn: &mut PgConnection, word: &str) -> Result<Option<String>> {
    let word = word.to_lowercase();
    let slips = slips_of(&word);
    let similar = sqlx::query_scalar!(
        "-- suggestions::nearest_word
        select word
        from prompt_words
        where word % (select $1) or word = any($3)
        order by word = any($3) desc, similarity(word, $1) desc, word
        limit $2",
        word,
        CANDIDATES,
        &slips
    )
    .fetch_all(conn)
    .await?;
    // `min_by_key` takes the first of equals, which is the most similar one.
    Ok(similar
        .into_iter()
        .map(|other| (strsim::osa_distance(&word, &other), other))
        .filter(|(distance, _)| 2 * distance <= word.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other))
}

/// The words that become this one by swapping two adjacent letters or adding a letter.
fn slips_of(word: &str) -> Vec<String> {
    let letters: Vec<char> = word.chars().take(SLIPS_WITHIN).collect();
    let rest: String = word.chars().skip(SLIPS_WITHIN).collect();
    let with_rest = |letters: Vec<char>| letters.into_iter().chain(rest.chars()).collect();
    let swapped = (1..letters.len()).map(|at| {
        let mut letters = letters.clone();
        letters.swap(at - 1, at);
        letters
    });
    let shorter = (0..letters.len()).map(|at| {
        let mut letters = letters.clone();
        letters.remove(at);
        letters
    });
    swapped.chain(shorter).map(with_rest).collect()
}

/// Some words with this prefix.
async fn completions(conn: &mut PgConnection, start: &str) -> Result<Vec<String>> {
    // Too many words begin with one or two letters.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_three_letters_and_more() {
        let text = "is gti-flow größer than x2y? naïve";
        let words: Vec<&str> = words_of(text).into_iter().map(|it| &text[it]).collect();
        assert_eq!(words, ["gti", "flow", "größer", "than", "naïve"]);
        assert!(words_of("").is_empty());
    }

    #[test]
    fn one_slip_is_undone() {
        assert_eq!(slips_of("gti"), ["tgi", "git", "ti", "gi", "gt"]);
        assert!(slips_of("").is_empty());
    }
}
