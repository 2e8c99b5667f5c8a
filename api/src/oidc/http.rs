//! The HTTP client for providers: guarded by the outbound policy, limited in time and size.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::StreamExt as _;
use opb_core::outbound::OutboundPolicy;
use opb_outbound::{Guarded, Lookup, SystemLookup};
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};

/// Timeout of a provider's response.
const ANSWER_TIME: Duration = Duration::from_secs(8);
/// Maximum size of a response, in bytes.
const MAX_BODY_BYTES: usize = 512 * 1024;

/// The client; clones share connections.
#[derive(Clone)]
pub(super) struct Http {
    guarded: Guarded,
}

/// Why a request failed; without the address, which may contain a secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// The outbound policy forbids the address.
    #[error("the address is not allowed")]
    Forbidden,
    /// The response is larger than any legitimate one.
    #[error("the answer is too large")]
    TooLarge,
    /// The request cannot be built.
    #[error("the request cannot be made")]
    Request,
    /// No connection, or a broken one.
    #[error("the provider cannot be reached")]
    Connection,
}

impl Http {
    /// Builds the client.
    ///
    /// # Errors
    /// The TLS roots of the system cannot be read.
    pub(super) fn new(policy: &Arc<OutboundPolicy>) -> anyhow::Result<Self> {
        // The operator configures the provider, and one proxy may serve it beside this server.
        let policy = Arc::new(policy.for_operator());
        let lookup: Arc<dyn Lookup> = Arc::new(SystemLookup);
        let guarded = Guarded::new(policy, &lookup, |builder| builder.timeout(ANSWER_TIME))?;
        Ok(Self { guarded })
    }

    async fn ask(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let request = reqwest::Request::try_from(request).map_err(|_| HttpError::Request)?;
        let client = self
            .guarded
            .client(request.url())
            .map_err(|opb_outbound::Forbidden| HttpError::Forbidden)?;
        let answer = client
            .execute(request)
            .await
            .map_err(|_| HttpError::Connection)?;
        let mut response = HttpResponse::new(Vec::new());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        let mut pieces = answer.bytes_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|_| HttpError::Connection)?;
            if response.body().len() + piece.len() > MAX_BODY_BYTES {
                return Err(HttpError::TooLarge);
            }
            response.body_mut().extend_from_slice(&piece);
        }
        Ok(response)
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.ask(request))
    }
}
