//! Who calls. A handler that needs to know takes one of these types as an argument.

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, header::AUTHORIZATION, request::Parts},
};
use opb_core::{
    Error,
    auth::{self, CurrentUser},
};

use crate::{
    AppState,
    problem::{Refusal, Result},
};

/// A caller with a valid credential.
pub(crate) struct Authenticated(pub(crate) CurrentUser);

/// A caller with a valid credential, or with none. A wrong credential is refused, never ignored.
pub(crate) struct Viewer(pub(crate) Option<CurrentUser>);

impl FromRequestParts<AppState> for Authenticated {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        match Viewer::from_request_parts(parts, state).await?.0 {
            Some(user) => Ok(Self(user)),
            None => Err(Error::Unauthenticated(
                "log in and send the header `authorization: Bearer <token or API key>`",
            )
            .into()),
        }
    }
}

impl FromRequestParts<AppState> for Viewer {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
        let Some(header) = headers.next() else {
            return Ok(Self(None));
        };
        if headers.next().is_some() {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "two_credentials",
                "the request has more than one authorization header",
            ));
        }
        let bearer = header
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, credential)) = bearer else {
            return Err(
                Error::Unauthenticated("the credential must have the form `Bearer …`").into(),
            );
        };
        let user = auth::authenticate(&state.pool, &state.tokens, credential.trim()).await?;
        Ok(Self(Some(user)))
    }
}
