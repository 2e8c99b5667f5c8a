//! Categories, which form a tree, and tags, which are flat; both with the number of public prompts.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::fields::is_slug;
use crate::{
    Error, FieldError, Result,
    auth::{CurrentUser, UserRole},
    texts,
};

/// Maximum depth of nested categories.
const MAX_DEPTH: i32 = 5;

/// A category of prompts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Category {
    /// Its name in URLs.
    pub slug: String,
    /// Its title.
    pub title: String,
    /// Number of public prompts in it and its subcategories.
    pub prompts: i64,
    /// Its subcategories, by title.
    #[schema(no_recursion)]
    pub children: Vec<Category>,
}

/// A category to create, or the new values of one.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCategory {
    /// 1 to 100 characters.
    pub title: String,
    /// The slug of the parent category; absent for a top-level category.
    #[serde(default)]
    pub parent: Option<String>,
}

/// A tag with its number of uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tag {
    /// The tag.
    pub tag: String,
    /// Number of public prompts that have it.
    pub prompts: i64,
}

struct Row {
    slug: String,
    title: String,
    parent: Option<String>,
    prompts: i64,
}

/// The tree of categories, by title.
///
/// # Errors
/// The database does not respond.
pub async fn list_categories(conn: &mut PgConnection) -> Result<Vec<Category>> {
    let rows = sqlx::query_as!(
        Row,
        r#"-- categories::list_categories
        select slug, title, parent, coalesce(filed.prompts, 0) as "prompts!"
        from categories
        left join (select category, count(*) as prompts
                   from prompts
                   where visibility = 'public' and archived_at is null and deleted_at is null
                   group by category) as filed on filed.category = slug
        order by title, slug"#
    )
    .fetch_all(conn)
    .await?;
    Ok(below(None, &rows, MAX_DEPTH))
}

/// Creates a category, or changes the one with this slug.
///
/// # Errors
/// [`Error::Forbidden`] for users who are not moderators; [`Error::Invalid`] for an invalid field or a cycle.
pub async fn save_category(
    conn: &mut PgConnection,
    user: &CurrentUser,
    slug: &str,
    category: &NewCategory,
) -> Result<()> {
    moderator(user)?;
    let mut wrong = Vec::new();
    if !is_slug(slug) {
        wrong.push(FieldError::new(
            "category",
            "must be lower-case letters and digits with single dashes between them",
        ));
    }
    wrong.extend(texts::check_line("title", &category.title, 1..=100).err());
    if !wrong.is_empty() {
        return Err(Error::Invalid(wrong));
    }
    let parent = category.parent.as_deref();
    if let Some(parent) = parent {
        check_place(conn, slug, parent).await?;
    }
    let saved = sqlx::query!(
        "-- categories::save_category
        insert into categories (slug, title, parent) values ($1, $2, $3)
        on conflict (slug) do update set title = excluded.title, parent = excluded.parent",
        slug,
        category.title,
        parent
    )
    .execute(conn)
    .await
    .map_err(Error::from);
    match saved {
        Err(error) if error.violates("categories_parent_fkey") => {
            Err(Error::invalid("parent", "is not a category"))
        }
        other => other.map(|_| ()),
    }
}

/// Deletes an empty category.
///
/// # Errors
/// [`Error::Forbidden`], [`Error::NotFound`], [`Error::Conflict`] if it still has prompts or subcategories.
pub async fn delete_category(
    conn: &mut PgConnection,
    user: &CurrentUser,
    slug: &str,
) -> Result<()> {
    moderator(user)?;
    let deleted = sqlx::query!(
        "-- categories::delete_category
        delete from categories where slug = $1",
        slug
    )
    .execute(conn)
    .await
    .map_err(Error::from);
    match deleted {
        Err(error)
            if error.violates("prompts_category_fkey")
                || error.violates("categories_parent_fkey") =>
        {
            Err(Error::Conflict(format!(
                "prompts or categories belong to the category `{slug}`; move them first"
            )))
        }
        Err(error) => Err(error),
        Ok(done) if done.rows_affected() == 0 => {
            Err(Error::NotFound(format!("the category `{slug}`")))
        }
        Ok(_) => Ok(()),
    }
}

/// The most used tags with this prefix.
///
/// # Errors
/// The database does not respond.
pub async fn list_tags(conn: &mut PgConnection, start: &str, limit: i64) -> Result<Vec<Tag>> {
    let tags = sqlx::query_as!(
        Tag,
        r#"-- categories::list_tags
        select tag as "tag!", count(*) as "prompts!"
        from prompts, unnest(tags) as tag
        where visibility = 'public' and archived_at is null and deleted_at is null and starts_with(tag, $1)
        group by tag
        order by count(*) desc, tag
        limit $2"#,
        start.to_lowercase(),
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(tags)
}

/// Refuses a parent that is a descendant of the category, or too deep in the tree.
async fn check_place(conn: &mut PgConnection, slug: &str, parent: &str) -> Result<()> {
    let above = sqlx::query!(
        r#"-- categories::check_place
        with recursive above as (
            select slug, parent, 1 as depth from categories where slug = $1
            union all
            select categories.slug, categories.parent, depth + 1
            from categories join above on categories.slug = above.parent
            where depth < 100
        )
        select coalesce(max(depth), 0) as "depth!", coalesce(bool_or(slug = $2), false) as "circle!"
        from above"#,
        parent,
        slug
    )
    .fetch_one(conn)
    .await?;
    if above.circle || parent == slug {
        return Err(Error::invalid(
            "parent",
            "must not be below the category itself",
        ));
    }
    if above.depth >= MAX_DEPTH {
        return Err(Error::invalid(
            "parent",
            "is nested too deep; categories nest at most five deep",
        ));
    }
    Ok(())
}

fn moderator(user: &CurrentUser) -> Result<()> {
    if user.role == UserRole::User {
        return Err(Error::Forbidden("only moderators can change categories"));
    }
    Ok(())
}

fn below(parent: Option<&str>, rows: &[Row], depth: i32) -> Vec<Category> {
    if depth == 0 {
        return Vec::new();
    }
    rows.iter()
        .filter(|row| row.parent.as_deref() == parent)
        .map(|row| {
            let children = below(Some(&row.slug), rows, depth - 1);
            let prompts = row.prompts + children.iter().map(|child| child.prompts).sum::<i64>();
            Category {
                slug: row.slug.clone(),
                title: row.title.clone(),
                prompts,
                children,
            }
        })
        .collect()
}
