//! Extractors of URL parameters: errors name the invalid parameter.

use std::str::FromStr;

use axum::{
    extract::{FromRequestParts, Query as AxumQuery, RawPathParams},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use crate::{
    AppState,
    problem::{ApiError, Result},
};

/// The only parameter in the path of a route.
pub(crate) struct Path<T>(pub(crate) T);

/// The two parameters in the path of a route, in order.
pub(crate) struct Path2<A, B>(pub(crate) A, pub(crate) B);

/// The parameters of the query string.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: FromStr + Send> FromRequestParts<AppState> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        let parameters = path_parameters(parts, state).await?;
        Ok(Self(parse(&parameters, 0)?))
    }
}

impl<A: FromStr + Send, B: FromStr + Send> FromRequestParts<AppState> for Path2<A, B> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        let parameters = path_parameters(parts, state).await?;
        Ok(Self(parse(&parameters, 0)?, parse(&parameters, 1)?))
    }
}

async fn path_parameters(parts: &mut Parts, state: &AppState) -> Result<RawPathParams> {
    RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| ApiError::invalid("", "the path is not valid UTF-8"))
}

fn parse<T: FromStr>(parameters: &RawPathParams, at: usize) -> Result<T> {
    let Some((name, text)) = parameters.iter().nth(at) else {
        return Err(ApiError::invalid("", "the path lacks its parameter"));
    };
    if text.contains('\0') {
        return Err(ApiError::invalid(name, "must not hold a NUL character"));
    }
    text.parse()
        .map_err(|_| ApiError::invalid(name, "is not an id"))
}

impl<T: DeserializeOwned> FromRequestParts<AppState> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self> {
        if let Ok(AxumQuery(pairs)) = AxumQuery::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            && let Some((name, _)) = pairs
                .iter()
                .find(|(name, value)| name.contains('\0') || value.contains('\0'))
        {
            let name = name.replace('\0', "");
            return Err(ApiError::invalid(name, "must not hold a NUL character"));
        }
        match AxumQuery::try_from_uri(&parts.uri) {
            Ok(AxumQuery(query)) => Ok(Self(query)),
            Err(error) => {
                let text = error.body_text();
                let reason = text
                    .strip_prefix("Failed to deserialize query string: ")
                    .unwrap_or(&text);
                Err(refuse(reason))
            }
        }
    }
}

/// axum's message is `name: reason`, or only the reason when it concerns no single parameter.
fn refuse(reason: &str) -> ApiError {
    if let Some(rest) = reason
        .strip_prefix("unknown field `")
        .or_else(|| reason.split_once(": unknown field `").map(|(_, rest)| rest))
    {
        let (name, known) = rest.split_once("`, ").unwrap_or((rest, ""));
        return ApiError::invalid(name, format!("is not known, {known}"));
    }
    if let Some(rest) = reason.strip_prefix("duplicate field `") {
        return ApiError::invalid(rest.trim_end_matches('`'), "is given twice");
    }
    match reason.split_once(": ") {
        Some((name, "invalid digit found in string")) => {
            ApiError::invalid(name, "must be a whole number")
        }
        Some((name, reason)) => ApiError::invalid(name, reason),
        None => ApiError::invalid("", reason),
    }
}
