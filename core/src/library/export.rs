//! Exports prompts in full, in an order that depends only on their slugs.

use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{NewPromptVersion, Parameters, PortablePrompt, Variable};
use crate::{
    Result,
    auth::{CurrentUser, Visibility},
    template::PromptBody,
};

/// The caller's next prompts after a slug, by slug, including archived ones.
///
/// # Errors
/// The database does not respond.
pub async fn export_prompts(
    conn: &mut PgConnection,
    owner: &CurrentUser,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<PortablePrompt>> {
    let prompts = sqlx::query!(
        r#"-- export::export_prompts
        select id, slug, title, description, category, tags, language, licence, attribution,
               visibility as "visibility: Visibility", archived_at is not null as "archived!"
        from prompts
        where owner_id = $1 and deleted_at is null and ($2::text is null or slug collate "C" > $2)
        order by slug collate "C"
        limit $3"#,
        owner.id,
        after,
        limit
    )
    .fetch_all(&mut *conn)
    .await?;
    let ids: Vec<Uuid> = prompts.iter().map(|prompt| prompt.id).collect();
    let versions = sqlx::query!(
        r#"-- export::export_prompts (versions)
        select prompt_id, number, note, body as "body: Json<PromptBody>",
               variables as "variables: Json<Vec<Variable>>", parameters as "parameters: Json<Parameters>"
        from prompt_versions
        where prompt_id = any($1) and withdrawn_at is null
        order by prompt_id, number"#,
        &ids
    )
    .fetch_all(&mut *conn)
    .await?;
    let aliases = sqlx::query!(
        "-- export::export_prompts (aliases)
        select prompt_aliases.prompt_id, name, number
        from prompt_aliases join prompt_versions on prompt_versions.id = prompt_version_id
        where prompt_aliases.prompt_id = any($1)",
        &ids
    )
    .fetch_all(conn)
    .await?;
    let exported = prompts.into_iter().map(|prompt| {
        let own = versions
            .iter()
            .filter(|version| version.prompt_id == prompt.id);
        let place = |number: i32| {
            own.clone()
                .take_while(|version| version.number <= number)
                .count()
        };
        PortablePrompt {
            slug: Some(prompt.slug),
            title: prompt.title,
            description: prompt.description,
            category: prompt.category,
            tags: prompt.tags,
            language: prompt.language,
            licence: prompt.licence,
            attribution: prompt.attribution,
            visibility: Some(prompt.visibility),
            archived: prompt.archived,
            aliases: aliases
                .iter()
                .filter(|alias| alias.prompt_id == prompt.id)
                .map(|alias| (alias.name.clone(), place(alias.number)))
                .collect(),
            versions: own
                .map(|version| NewPromptVersion {
                    note: version.note.clone(),
                    variables: version.variables.0.clone(),
                    parameters: version.parameters.0.clone(),
                    body: version.body.0.clone(),
                })
                .collect(),
        }
    });
    Ok(exported.collect())
}
