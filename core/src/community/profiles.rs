//! Profiles: what a user shows about themselves, and statistics of their contributions.
//!
//! Other users cannot see that a private profile exists, and private content never counts in what they see.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{
    badges::{Badge, list_badges},
    text::check_length,
};
use crate::{
    Error, Result, auth::CurrentUser, computing::Loaded, library::to_html, texts::check_line,
};

/// Reputation of a prompt's owner per vote for it.
const PER_UP: i32 = 10;
/// Reputation lost per vote against it; the total of a prompt is at least zero.
const PER_DOWN: i32 = 2;
/// Reputation per favourite of another user.
const PER_FAVOURITE: i64 = 5;
/// Reputation per badge for a measured result.
const PER_BADGE: i64 = 25;

/// A user as shown to others.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Profile {
    /// The user's name in URLs.
    pub username: String,
    /// The user's display name; the username if none is set.
    pub display_name: String,
    /// About the user, in Markdown as written.
    pub bio: String,
    /// The text as HTML that is safe to embed in a page.
    pub bio_html: String,
    /// The data of their picture.
    pub avatar: Avatar,
    /// When the user registered.
    pub joined_at: DateTime<Utc>,
    /// Public contributions; absent if the user hides their activity.
    pub contributions: Option<Contributions>,
    /// 10 for each vote for their public prompts, minus 2 for each against (a prompt counts at least 0), 5 for each
    /// favourite of other users, 25 for each badge; absent if the user hides their activity.
    pub reputation: Option<i64>,
    /// Badges for measured results; absent if the user hides their activity.
    pub badges: Option<Vec<Badge>>,
    /// True if the caller may read the user's favourites.
    pub shows_favourites: bool,
}

/// A picture as data, without a file or a link to a third-party server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Avatar {
    /// One or two capital letters or digits.
    pub initials: String,
    /// The background colour: degrees on the colour wheel, from 0 to 359.
    pub hue: u16,
}

/// Numbers of a user's public contributions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Contributions {
    /// Their public prompts.
    pub prompts: i64,
    /// Versions that they wrote for public prompts, their own or other users'.
    pub versions: i64,
    /// Their public benchmarks.
    pub benchmarks: i64,
    /// Their completed public runs.
    pub runs: i64,
    /// Comments on public prompts.
    pub comments: i64,
    /// Public collections.
    pub collections: i64,
}

/// What a user writes about themselves, and what other users see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfileSettings {
    /// At most 80 characters; empty: the username.
    pub display_name: String,
    /// Markdown, at most 2,000 characters.
    pub bio: String,
    /// False hides the profile from other users.
    pub is_public: bool,
    /// Whether other users see contributions, reputation and badges.
    pub shows_activity: bool,
    /// Whether other users see the favourites.
    pub shows_favourites: bool,
}

/// The profile with this username, as the viewer may see it.
///
/// # Errors
/// [`Error::NotFound`], also for another user's private profile.
pub async fn find_profile(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    username: &str,
) -> Result<Loaded<Profile>> {
    let shown = find_shown(conn, viewer, username).await?;
    let user = sqlx::query!(
        r#"-- profiles::find_profile
        select username, created_at, profiles.display_name as "display_name?", profiles.bio as "bio?"
        from users left join profiles on profiles.user_id = users.id
        where users.id = $1"#,
        shown.user_id
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or_else(|| not_found(username))?;
    let display_name = user
        .display_name
        .filter(|name| !name.trim().is_empty())
        .unwrap_or_else(|| user.username.clone());
    let (mut contributions, mut reputation, mut badges) = (None, None, None);
    if shown.activity {
        let earned = list_badges(conn, shown.user_id).await?;
        let badge_count = i64::try_from(earned.len()).unwrap_or(i64::MAX);
        contributions = Some(count_contributions(conn, shown.user_id).await?);
        reputation = Some(count_reputation(conn, shown.user_id).await? + PER_BADGE * badge_count);
        badges = Some(earned);
    }
    let profile = Profile {
        avatar: Avatar::of(&display_name, &user.username),
        username: user.username,
        display_name,
        bio_html: String::new(),
        bio: user.bio.unwrap_or_default(),
        joined_at: user.created_at,
        contributions,
        reputation,
        badges,
        shows_favourites: shown.favourites,
    };
    Ok(Loaded::new(|| Ok(profile.rendered())))
}

/// The user's profile settings.
///
/// # Errors
/// The database does not respond.
pub async fn find_profile_settings(
    conn: &mut PgConnection,
    user: &CurrentUser,
) -> Result<ProfileSettings> {
    let settings = sqlx::query_as!(
        ProfileSettings,
        "-- profiles::find_profile_settings
        select display_name, bio, is_public, shows_activity, shows_favourites from profiles where user_id = $1",
        user.id
    )
    .fetch_optional(conn)
    .await?;
    Ok(settings.unwrap_or_default())
}

/// Replaces the user's profile settings.
///
/// # Errors
/// [`Error::Invalid`] for a text that is too long.
pub async fn update_profile_settings(
    conn: &mut PgConnection,
    user: &CurrentUser,
    settings: &ProfileSettings,
) -> Result<()> {
    check_line("display_name", &settings.display_name, 0..=80)?;
    check_length("bio", &settings.bio, 0..=2_000)?;
    sqlx::query!(
        "-- profiles::update_profile_settings
        insert into profiles (user_id, display_name, bio, is_public, shows_activity, shows_favourites)
        values ($1, $2, $3, $4, $5, $6)
        on conflict (user_id) do update
        set display_name = excluded.display_name, bio = excluded.bio, is_public = excluded.is_public,
            shows_activity = excluded.shows_activity, shows_favourites = excluded.shows_favourites, updated_at = now()",
        user.id,
        settings.display_name,
        settings.bio,
        settings.is_public,
        settings.shows_activity,
        settings.shows_favourites
    )
    .execute(conn)
    .await?;
    Ok(())
}

impl Profile {
    fn rendered(mut self) -> Self {
        self.bio_html = to_html(&self.bio);
        self
    }
}

impl Default for ProfileSettings {
    fn default() -> Self {
        Self {
            display_name: String::new(),
            bio: String::new(),
            is_public: true,
            shows_activity: true,
            shows_favourites: false,
        }
    }
}

impl Avatar {
    /// The initials of the first and the last word of the name, and a colour derived from the username.
    fn of(display_name: &str, username: &str) -> Self {
        let first_of = |word: &str| word.chars().find(|c| c.is_alphanumeric());
        let letters_of = |name: &str| -> Vec<char> {
            name.split(|c: char| c.is_whitespace() || matches!(c, '.' | '-' | '_'))
                .filter_map(first_of)
                .collect()
        };
        let mut letters = letters_of(display_name);
        if letters.is_empty() {
            letters = letters_of(username);
        }
        let initials: String = match letters.as_slice() {
            [] => "?".into(),
            [only] => only.to_uppercase().collect(),
            [first, .., last] => [first, last]
                .into_iter()
                .flat_map(|c| c.to_uppercase())
                .collect(),
        };
        let hash = Sha256::digest(username.to_lowercase());
        Self {
            initials: initials.chars().take(2).collect(),
            hue: u16::from_be_bytes([hash[0], hash[1]]) % 360,
        }
    }
}

/// What a viewer may see of a user.
pub(super) struct Shown {
    pub(super) user_id: i64,
    pub(super) activity: bool,
    pub(super) favourites: bool,
}

/// What the viewer may see of the user with this name. Users themselves and administrators see everything.
///
/// # Errors
/// [`Error::NotFound`], also for another user's private profile, and for a disabled user.
pub(super) async fn find_shown(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    username: &str,
) -> Result<Shown> {
    sqlx::query_as!(
        Shown,
        r#"-- profiles::find_shown
        select users.id as user_id,
               (users.id = $2 or $3 or coalesce(shows_activity, true)) as "activity!",
               (users.id = $2 or $3 or coalesce(shows_favourites, false)) as "favourites!"
        from users left join profiles on profiles.user_id = users.id
        where lower(username) = lower($1)
          and disabled_at is null
          and (users.id = $2 or $3 or coalesce(is_public, true))"#,
        username,
        viewer.map_or(-1, |user| user.id),
        viewer.is_some_and(CurrentUser::is_admin)
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| not_found(username))
}

async fn count_contributions(conn: &mut PgConnection, user_id: i64) -> Result<Contributions> {
    let contributions = sqlx::query_as!(
        Contributions,
        r#"-- profiles::count_contributions
        select (select count(*) from prompts
                where owner_id = $1 and visibility = 'public' and deleted_at is null) as "prompts!",
               (select count(*) from prompt_versions join prompts on prompts.id = prompt_id
                where author_id = $1 and visibility = 'public' and deleted_at is null) as "versions!",
               (select count(*) from benchmarks
                where owner_id = $1 and visibility = 'public' and deleted_at is null) as "benchmarks!",
               (select count(*) from runs
                where owner_id = $1 and visibility = 'public' and state = 'completed' and is_public_run(id)) as "runs!",
               (select count(*) from comments join prompts on prompts.id = prompt_id
                where author_id = $1 and visibility = 'public' and prompts.deleted_at is null
                  and comments.deleted_at is null and hidden_at is null) as "comments!",
               (select count(*) from collections where owner_id = $1 and visibility = 'public') as "collections!""#,
        user_id
    )
    .fetch_one(conn)
    .await?;
    Ok(contributions)
}

/// The reputation without badges.
async fn count_reputation(conn: &mut PgConnection, user_id: i64) -> Result<i64> {
    let reputation = sqlx::query_scalar!(
        r#"-- profiles::count_reputation
        select coalesce(sum(greatest(0, $2 * up - $3 * down) + $4 *
                   (select count(*) from favourites where prompt_id = prompts.id and user_id <> $1)), 0)::bigint as "reputation!"
        from prompts join prompt_ranks on prompt_ranks.prompt_id = prompts.id
        where owner_id = $1 and visibility = 'public' and deleted_at is null"#,
        user_id,
        PER_UP,
        PER_DOWN,
        PER_FAVOURITE
    )
    .fetch_one(conn)
    .await?;
    Ok(reputation)
}

fn not_found(username: &str) -> Error {
    Error::NotFound(format!("the user `{username}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_initials() {
        let check = |display_name: &str, username: &str, expect: &str| {
            assert_eq!(Avatar::of(display_name, username).initials, expect);
        };
        check("Ada Lovelace", "ada", "AL");
        check("ada", "ada", "A");
        check("Ada King, Countess of Lovelace", "ada", "AL");
        check("ada_lovelace", "ada_lovelace", "AL");
        check("<script>alert(1)</script>", "eve", "S");
        check("\u{1f600}", "bob.builder", "BB");
        check("\u{1f600}", "...", "?");
        check("ßeta", "b", "SS");
    }

    #[test]
    fn a_colour_stays_with_its_user() {
        let hue = Avatar::of("Ada Lovelace", "ada").hue;
        assert_eq!(Avatar::of("Somebody Else", "Ada").hue, hue);
        assert!(hue < 360);
        assert_ne!(Avatar::of("Ada Lovelace", "bob").hue, hue);
    }
}
