//! Prompt search: one set of filters, orders and pages for every list of prompts.
//!
//! Prompts with the words in title, tags or description come first, best match first; prompts with the words only in
//! the text follow, newest first.
//! Where very many prompts have them in title, tags or description, only the newest hundred of those are ranked, so
//! that a word that half of the library has costs no more than a rare one.
//! Every match is on exactly one page, and each page is read through an index.
//!
//! Misspelt words cost nothing unless there are no results: only then are they compared with the words of titles.

mod cursor;
mod filter;
mod hits;
mod plan;
mod snippets;
mod statements;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};

use self::{
    cursor::{SearchCursor, bad_cursor, decode, encode},
    filter::{Filter, with_single_dashes},
    hits::Hit,
    plan::{Part, WALKED},
    snippets::snippet,
    statements::{ALL_RANKED, Match, list_in_order, list_matches, rank_all, rank_newest},
};
pub use self::{plan::Estimates, snippets::Fragment};
use super::{Prompt, PromptKind, fields::normalise_tags, suggestions};
use crate::{Error, FieldError, Result, auth::CurrentUser, paging::fitting};

/// Maximum number of entries of a page.
const MAX_LIMIT: i64 = 100;
/// Number of entries of a page if the client does not set a limit.
const DEFAULT_LIMIT: i64 = 50;
/// Maximum number of words of a query that are corrected.
const CORRECTIONS: usize = 3;

/// The filters, order and page of a list of prompts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PromptQuery {
    /// Words that the prompt must have; `"two words"` together, `or` between alternatives, `-word` for words it must
    /// not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// The slug of a category; its subcategories are included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Tags separated by commas; the prompt must have all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The name of the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The language that the prompt is written in, such as `en`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The licence, exactly as the prompt states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// The kind of the newest version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub kind: Option<PromptKind>,
    /// The slug of a public benchmark on whose newest version the prompt was measured with a real model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub benchmark: Option<String>,
    /// The model that the prompt was measured with, such as `openai:gpt-5-mini`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Minimum mean score of such a measurement, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_score: Option<f64>,
    /// True for archived prompts instead of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived: Option<bool>,
    /// True for prompts that are offered to the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered: Option<bool>,
    /// The order; absent: `relevance` if there are words to search for, otherwise `newest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub sort: Option<PromptSort>,
    /// `next_cursor` of the previous page; absent for the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Maximum number of entries to return; 50 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<i64>,
}

/// The orders of a list of prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PromptSort {
    /// The best match first; needs `q`.
    Relevance,
    /// The newest prompt first.
    Newest,
    /// The most recently changed prompt first.
    Updated,
    /// By title, from A to Z.
    Title,
    /// The highest lower bound of the share of positive votes first.
    Top,
    /// The most recent votes first.
    Trending,
    /// The highest lower bound of the best measured score first; unmeasured prompts come last.
    Quality,
    /// Measured quality and votes together.
    Combined,
}

impl PromptSort {
    /// The column of `prompt_ranks` behind a community order.
    pub(super) fn rank(self) -> Option<&'static str> {
        match self {
            Self::Top => Some("wilson"),
            Self::Trending => Some("trend"),
            Self::Quality => Some("quality"),
            Self::Combined => Some("combined"),
            Self::Relevance | Self::Newest | Self::Updated | Self::Title => None,
        }
    }
}

/// A prompt in a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FoundPrompt {
    /// The prompt.
    #[serde(flatten)]
    pub prompt: Prompt,
    /// The excerpt of its text that has the words, as plain text in pieces; absent without words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snippet: Vec<Fragment>,
}

/// A page of prompts.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PromptPage {
    /// The prompts.
    pub items: Vec<FoundPrompt>,
    /// Pass it as `?cursor=` to get the next page; absent on the last page.
    pub next_cursor: Option<String>,
    /// The corrected query, if the original one had no results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrected_query: Option<String>,
}

/// A page of the prompts that the viewer may find.
///
/// # Errors
/// [`Error::Invalid`] for an invalid parameter.
pub async fn list_prompts(
    conn: &mut PgConnection,
    estimates: &Estimates,
    viewer: Option<&CurrentUser>,
    query: &PromptQuery,
) -> Result<PromptPage> {
    let (sort, limit) = query.check()?;
    let cursor = query.cursor.as_deref().map(decode).transpose()?;
    let Some(mut filter) = Filter::resolve(conn, viewer, query).await? else {
        return Ok(page(Vec::new(), false, None, |_| None));
    };
    if sort != PromptSort::Relevance {
        let mut matches =
            list_in_order(conn, estimates, &filter, sort, cursor.as_ref(), limit + 1).await?;
        let more = shorten(&mut matches, limit);
        let words = filter.words.as_deref();
        let found = hits::load(conn, filter.viewer_id, words, &matches).await?;
        return Ok(page(found, more, None, |found| Some(found.place(sort))));
    }
    let mut corrected = None;
    match &cursor {
        // Later pages keep the words of the first page.
        Some(SearchCursor::Ranked { q, .. } | SearchCursor::Rest { q, .. }) => {
            filter.words = Some(with_single_dashes(q));
        }
        Some(_) => return Err(bad_cursor()),
        None => {}
    }
    let mut matches = find(conn, estimates, &filter, cursor.as_ref(), limit).await?;
    if matches.is_empty()
        && cursor.is_none()
        && let Some(words) = correct(conn, estimates, &filter).await?
    {
        filter.words = Some(words.clone());
        matches = find(conn, estimates, &filter, None, limit).await?;
        // A correction without results would only reveal which words other prompts use.
        corrected = (!matches.is_empty()).then_some(words);
    }
    let more = shorten(&mut matches, limit);
    let q = filter.words.unwrap_or_default();
    let found = hits::load(conn, filter.viewer_id, Some(&q), &matches).await?;
    let place = |found: &Hit| {
        let (q, id) = (q.clone(), found.prompt.id);
        Some(match found.place.score {
            Some(score) => SearchCursor::Ranked {
                score,
                id,
                ranked: found.place.ranked,
                q,
            },
            None => SearchCursor::Rest {
                ranked: found.place.ranked,
                id: Some(id),
                q,
            },
        })
    };
    Ok(page(found, more, corrected, place))
}

/// The query with the first words that match nothing replaced; `None` if there is nothing to replace.
async fn correct(
    conn: &mut PgConnection,
    estimates: &Estimates,
    filter: &Filter,
) -> Result<Option<String>> {
    let query = filter.words.clone().unwrap_or_default();
    let (mut corrected, mut copied, mut corrections) = (String::new(), 0, 0);
    for place in suggestions::doubtful_words(conn, &query).await? {
        let word = &query[place.clone()];
        let alone = filter.only_word(word);
        if !find(conn, estimates, &alone, None, 0).await?.is_empty() {
            continue;
        }
        if let Some(nearest) = suggestions::nearest_word(conn, word).await? {
            corrected.push_str(&query[copied..place.start]);
            corrected.push_str(&nearest);
            copied = place.end;
        }
        corrections += 1;
        if corrections == CORRECTIONS {
            break;
        }
    }
    corrected.push_str(&query[copied..]);
    Ok((corrected != query).then_some(corrected))
}

/// Up to one match more than the limit: the ranked ones first, then the rest.
async fn find(
    conn: &mut PgConnection,
    estimates: &Estimates,
    filter: &Filter,
    cursor: Option<&SearchCursor>,
    limit: i64,
) -> Result<Vec<Match>> {
    let limit = limit + 1;
    let (mut found, ranked, after) = match cursor {
        Some(SearchCursor::Rest { ranked, id, .. }) => (Vec::new(), *ranked, *id),
        Some(SearchCursor::Ranked {
            score, id, ranked, ..
        }) => {
            let found = if *ranked == Some(ALL_RANKED) {
                rank_all(conn, filter, Some((*score, *id)), limit).await?
            } else {
                let expected = estimates.of(conn, filter, Part::Heads).await?;
                let after = Some((*score, *id, *ranked));
                rank_newest(conn, filter, expected, after, limit).await?
            };
            (found, *ranked, None)
        }
        _ => {
            let expected = estimates.of(conn, filter, Part::Heads).await?;
            if expected.are_rare(WALKED, limit) {
                let found = rank_all(conn, filter, None, limit).await?;
                (found, Some(ALL_RANKED), None)
            } else {
                let found = rank_newest(conn, filter, expected, None, limit).await?;
                let ranked = found.first().and_then(|first| first.ranked);
                (found, ranked, None)
            }
        }
    };
    let room = limit - i64::try_from(found.len()).unwrap_or(limit);
    if room > 0 {
        found.extend(list_matches(conn, estimates, filter, ranked, after, room).await?);
    }
    Ok(found)
}

impl PromptQuery {
    /// Validates the query; returns the order and the limit.
    fn check(&self) -> Result<(PromptSort, i64)> {
        let mut wrong = Vec::new();
        let words = self.words();
        let sort = self.sort.unwrap_or(match words {
            Some(_) => PromptSort::Relevance,
            None => PromptSort::Newest,
        });
        if sort == PromptSort::Relevance && words.is_none() {
            wrong.push(FieldError::new(
                "sort",
                "`relevance` needs words to search for in `q`",
            ));
        }
        if words.is_some_and(|words| words.chars().count() > 200) {
            wrong.push(FieldError::new("q", "must have at most 200 characters"));
        }
        if self
            .min_score
            .is_some_and(|score| !(0.0..=1.0).contains(&score))
        {
            wrong.push(FieldError::new("min_score", "must be between 0 and 1"));
        }
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            wrong.push(FieldError::new(
                "limit",
                format!("must be between 1 and {MAX_LIMIT}"),
            ));
        }
        if wrong.is_empty() {
            return Ok((sort, limit));
        }
        Err(Error::Invalid(wrong))
    }

    /// The words to search for, if there are any.
    pub(super) fn words(&self) -> Option<&str> {
        self.q.as_deref().map(str::trim).filter(|q| !q.is_empty())
    }

    /// The tags in their stored form.
    pub(super) fn tags(&self) -> Result<Vec<String>> {
        let Some(tags) = &self.tag else {
            return Ok(Vec::new());
        };
        let tags: Vec<String> = tags.split(',').map(str::to_owned).collect();
        normalise_tags(&tags)
            .map_err(|wrong| Error::Invalid(vec![FieldError::new("tag", wrong.message)]))
    }

    /// Validates the search, and returns it without its cursor and limit.
    pub(super) fn without_page(mut self) -> Result<Self> {
        self.cursor = None;
        self.limit = None;
        self.check()?;
        Ok(self)
    }
}

impl Hit {
    /// The cursor of a page that ends with this entry.
    fn place(&self, sort: PromptSort) -> SearchCursor {
        let id = self.prompt.id;
        match sort {
            PromptSort::Updated => SearchCursor::Updated {
                at: self.prompt.updated_at,
                id,
            },
            PromptSort::Title => SearchCursor::Title {
                title: self.prompt.title.clone(),
                id,
            },
            PromptSort::Newest | PromptSort::Relevance => SearchCursor::Newest { id },
            PromptSort::Top | PromptSort::Trending | PromptSort::Quality | PromptSort::Combined => {
                SearchCursor::Rank {
                    sort,
                    bits: self.place.rank.unwrap_or_default().to_bits(),
                    id,
                }
            }
        }
    }
}

/// Shortens the matches to a page. True if there were more.
fn shorten(matches: &mut Vec<Match>, limit: i64) -> bool {
    let limit = usize::try_from(limit).unwrap_or(0);
    let more = matches.len() > limit;
    matches.truncate(limit);
    more
}

fn page(
    mut found: Vec<Hit>,
    more: bool,
    corrected_query: Option<String>,
    place: impl Fn(&Hit) -> Option<SearchCursor>,
) -> PromptPage {
    let prompts: Vec<&Prompt> = found.iter().map(|found| &found.prompt).collect();
    let keep = fitting(&prompts);
    let more = more || keep < found.len();
    found.truncate(keep);
    let next_cursor = if more {
        found.last().and_then(place).map(|place| encode(&place))
    } else {
        None
    };
    let listed = |found: Hit| {
        let snippet = match &found.text {
            Some(text) => snippet(&found.prompt.description, text, &found.lexemes),
            None => Vec::new(),
        };
        FoundPrompt {
            prompt: found.prompt,
            snippet,
        }
    };
    PromptPage {
        items: found.into_iter().map(listed).collect(),
        next_cursor,
        corrected_query,
    }
}
