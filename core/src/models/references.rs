//! Models: `provider:name` with parameters.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    ProviderKind,
    parameters::{wrong_parameter, wrong_simulated_parameter},
};
use crate::{
    Error, FieldError, Result,
    auth::CurrentUser,
    paging::{Page, json_bytes},
    texts::check_line,
};

/// Maximum size of the parameters of a model, in bytes of JSON.
const MAX_PARAMETERS_BYTES: usize = 16 * 1024;
/// Maximum size of the parameters of all models of a request together, in bytes of JSON.
const MAX_PARAMETERS_TOGETHER_BYTES: usize = 64 * 1024;

/// A model in a request: `"simulated:strong"`, or an object with parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ModelRequest {
    /// `provider:name` without parameters.
    Name(String),
    /// `provider:name` with parameters.
    WithParameters(ModelWithParameters),
}

/// A model with parameters that are sent with every call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelWithParameters {
    /// `provider:name`.
    pub model: String,
    /// For example `{"temperature": 0, "max_tokens": 256}`.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub parameters: Map<String, Value>,
}

/// A known model.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Model {
    /// The model's id.
    pub id: Uuid,
    /// `provider:name`.
    pub model: String,
    /// The parameters that are sent with every call.
    #[schema(value_type = Object)]
    pub parameters: Value,
    /// True if its responses are simulated or echoes.
    pub simulated: bool,
    /// Micro-dollars per million input tokens, if known.
    pub input_microusd_per_mtok: Option<i64>,
    /// Micro-dollars per million output tokens, if known.
    pub output_microusd_per_mtok: Option<i64>,
}

impl ModelRequest {
    /// The `provider:name` and the parameters.
    #[must_use]
    pub fn parts(&self) -> (&str, Value) {
        match self {
            Self::Name(name) => (name, Value::Object(Map::new())),
            Self::WithParameters(model) => (&model.model, Value::Object(model.parameters.clone())),
        }
    }
}

/// The id of a model. The model is created if it is new and its provider exists.
///
/// # Errors
/// [`Error::Invalid`] at `path` for an invalid form, an unknown provider or an unknown simulated model.
pub async fn find_or_create_model(
    conn: &mut PgConnection,
    request: &ModelRequest,
    path: &str,
) -> Result<Uuid> {
    let (reference, parameters) = request.parts();
    let Some((provider, name)) = reference
        .split_once(':')
        .filter(|(_, name)| !name.is_empty())
    else {
        return Err(Error::invalid(
            path,
            "must have the form provider:name, such as simulated:strong",
        ));
    };
    check_model_name(path, name)?;
    let size = parameters.to_string().len();
    if size > MAX_PARAMETERS_BYTES {
        let message = format!("has {size} bytes of JSON, the maximum is {MAX_PARAMETERS_BYTES}");
        return Err(Error::invalid(format!("{path}.parameters"), message));
    }
    if let Some(message) = parameters.as_object().and_then(wrong_parameter) {
        return Err(Error::invalid(path, message));
    }
    let provider = find_provider(conn, provider, path).await?;
    if provider.kind == ProviderKind::Simulated
        && !provider.model_names.iter().any(|known| known == name)
    {
        let known = provider.model_names.join(", ");
        return Err(Error::invalid(
            path,
            format!("there is no simulated model `{name}`; there are: {known}"),
        ));
    }
    if provider.kind == ProviderKind::Simulated
        && let Some(message) = parameters.as_object().and_then(wrong_simulated_parameter)
    {
        return Err(Error::invalid(path, message));
    }
    sqlx::query!(
        "-- references::find_or_create_model
        insert into models (id, provider_id, name, parameters) values ($1, $2, $3, $4)
        on conflict do nothing",
        Uuid::now_v7(),
        provider.id,
        name,
        parameters
    )
    .execute(&mut *conn)
    .await?;
    let id = sqlx::query_scalar!(
        "-- references::find_or_create_model
        select id from models
        where provider_id = $1 and name = $2 and md5(parameters::text) = md5($3::jsonb::text) and parameters = $3",
        provider.id,
        name,
        parameters
    )
    .fetch_optional(conn)
    .await?;
    // A hash collision can only be deliberate.
    id.ok_or_else(|| {
        Error::invalid(
            format!("{path}.parameters"),
            "cannot be distinguished from a known model with other parameters",
        )
    })
}

/// A page of the models that the viewer may see, by name: models of runs that the viewer may find, with their
/// parameters, and models with a price, without parameters. Administrators see all models. So the list reveals nothing
/// about private runs, and no user can add entries to another user's list.
///
/// # Errors
/// The database does not respond.
pub async fn list_models(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Page<Model>> {
    let models = sqlx::query_as!(
        Model,
        r#"-- references::list_models
        select models.id, providers.name || ':' || models.name as "model!", models.parameters,
               providers.kind in ('simulated', 'echo') as "simulated!",
               case when providers.free then coalesce(prices.input_microusd_per_mtok, 0)
                    else prices.input_microusd_per_mtok end as input_microusd_per_mtok,
               case when providers.free then coalesce(prices.output_microusd_per_mtok, 0)
                    else prices.output_microusd_per_mtok end as output_microusd_per_mtok
        from models
        join providers on providers.id = models.provider_id
        left join current_prices as prices on prices.provider_id = models.provider_id and prices.model_name = models.name
        where ($3::uuid is null
               or (providers.name || ':' || models.name, models.id)
                  > (select of.name || ':' || last.name, last.id
                     from models as last join providers as of on of.id = last.provider_id where last.id = $3))
          and ($2
               or (models.parameters = '{}' and prices.model_name is not null)
               or exists (select from run_models join runs on runs.id = run_id
                          where model_id = models.id and runs.deleted_at is null
                            and (runs.owner_id = $1 or (runs.visibility = 'public' and is_public_run(runs.id)))))
        order by 2, models.id
        limit $4"#,
        viewer.map(|user| user.id),
        viewer.is_some_and(CurrentUser::is_admin),
        after,
        limit + 1
    )
    .fetch_all(conn)
    .await?;
    Ok(Page::cut(models, limit, |model| model.id.to_string()))
}

/// Checks the total size of the parameters of a request's models.
pub(crate) fn check_parameters_together(models: &[ModelRequest]) -> Result<(), FieldError> {
    let bytes: usize = models
        .iter()
        .map(|model| json_bytes(&model.parts().1))
        .sum();
    if bytes <= MAX_PARAMETERS_TOGETHER_BYTES {
        return Ok(());
    }
    let message = format!(
        "have parameters of {bytes} bytes together, the maximum is {MAX_PARAMETERS_TOGETHER_BYTES}"
    );
    Err(FieldError::new("models", message))
}

/// Validates the name of a model. It becomes part of URLs, where `.` and `..` would remove segments.
///
/// # Errors
/// The error in the name.
pub(super) fn check_model_name(path: &str, name: &str) -> Result<(), FieldError> {
    check_line(path, name, 1..=200)?;
    let is_step = |part: &str| matches!(part, "." | "..");
    if name.split(['/', '\\']).any(|part| is_step(part.trim())) {
        let message = "must not be `.` or `..`, nor have one of them between slashes";
        return Err(FieldError::new(path, message));
    }
    Ok(())
}

struct KnownProvider {
    id: Uuid,
    kind: ProviderKind,
    model_names: Vec<String>,
}

async fn find_provider(conn: &mut PgConnection, name: &str, path: &str) -> Result<KnownProvider> {
    let found = sqlx::query_as!(
        KnownProvider,
        r#"-- references::find_provider
        select id, kind as "kind: ProviderKind",
               array(select model_name from model_prices where provider_id = providers.id order by 1) as "model_names!"
        from providers
        where name = $1"#,
        name
    )
    .fetch_optional(&mut *conn)
    .await?;
    if let Some(found) = found {
        return Ok(found);
    }
    let known = sqlx::query_scalar!(
        r#"-- references::find_provider
        select coalesce(string_agg(name, ', ' order by name), 'none') as "names!" from providers"#
    )
    .fetch_one(conn)
    .await?;
    Err(Error::invalid(
        path,
        format!("there is no provider `{name}`; there are: {known}"),
    ))
}

/// A model with its parameters in one line, to distinguish models with the same name:
/// `local:small max_tokens=100 temperature=0`.
#[must_use]
pub fn model_label(model: &str, parameters: &Value) -> String {
    let mut label = model.to_owned();
    for (name, value) in parameters.as_object().into_iter().flatten() {
        label.push(' ');
        label.push_str(name);
        label.push('=');
        match value {
            Value::String(text) => label.push_str(text),
            other => label.push_str(&other.to_string()),
        }
    }
    label
}

/// Whether a text names this model: by its name, or by its name and parameters as in [`model_label`].
#[must_use]
pub fn is_model(wanted: &str, model: &str, parameters: &Value) -> bool {
    if wanted == model {
        return true;
    }
    let words = |label: &str| {
        let mut words: Vec<String> = label.split_whitespace().map(str::to_owned).collect();
        words.sort_unstable();
        words
    };
    words(wanted) == words(&model_label(model, parameters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_takes_nothing_from_an_address() {
        for good in [
            "gpt-4o",
            "meta/llama-3.1:70b",
            "a..b",
            "...",
            "arn:aws:x/y",
            "v1.0",
        ] {
            assert_eq!(check_model_name("model", good), Ok(()), "{good}");
        }
        for wrong in [
            ".",
            "..",
            "a/..",
            "../a",
            "a/./b",
            "a\\..\\b",
            "a/ .. /b",
            "",
            " ",
            "a\nb",
            "a\u{202e}b",
        ] {
            assert!(check_model_name("model", wrong).is_err(), "{wrong:?}");
        }
    }
}
