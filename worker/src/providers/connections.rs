//! Kept connections: a request that was sent just when the server closed its end was never read.
//!
//! Servers close idle connections without a word (uvicorn after 5 s), and some after each response. HTTP allows a client to
//! send such a request again if it knows that it was not processed (RFC 9110, section 9.2.2; RFC 9112, section 9.3.1). As
//! browsers do, we take that for granted if the connection had served a response before and ended without one byte of the
//! next, soon after the request was sent: a server that reads a request, charges for it and then breaks a connection that
//! worked is far rarer.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hyper_util::client::legacy::connect::HttpInfo;
use reqwest::Response;

use super::http::causes;

/// Maximum number of connections that are remembered. One that is forgotten counts as new, which costs an attempt at worst.
const MAX_CONNECTIONS: usize = 65_536;

/// Both ends of a connection.
type Ends = (SocketAddr, SocketAddr);

/// The connections that have served a response.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections(Arc<Mutex<HashSet<Ends>>>);

impl Connections {
    /// Remembers the connection of a response.
    pub(super) fn note_response(&self, response: &Response) {
        if let Some(info) = response.extensions().get::<HttpInfo>() {
            let mut known = self.lock();
            if known.len() >= MAX_CONNECTIONS {
                known.clear();
            }
            known.insert(ends(info));
        }
    }

    /// Whether the request that failed like this was never read. Each connection counts once, so repeated requests reach a new
    /// connection in the end.
    pub(super) fn was_unread(&self, error: &reqwest::Error) -> bool {
        let Some(failed) = causes(error).find_map(<dyn std::error::Error>::downcast_ref::<Failed>)
        else {
            return false;
        };
        let Some(connection) = failed.connect_info() else {
            return false;
        };
        // In HTTP/2 requests share a connection, and its end says nothing of a single one.
        if connection.is_negotiated_h2() || !causes(error).any(is_closed) {
            return false;
        }
        let mut extras = ::http::Extensions::new();
        connection.get_extras(&mut extras);
        let info = extras.get::<HttpInfo>();
        info.is_some_and(|info| self.lock().remove(&ends(info)))
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Ends>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Failed = hyper_util::client::legacy::Error;

fn ends(info: &HttpInfo) -> Ends {
    (info.local_addr(), info.remote_addr())
}

/// The other end closed the connection before a response was complete. (The head had not come, or there would be no error.)
fn is_closed(cause: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    let of_hyper = cause.downcast_ref::<hyper::Error>();
    let of_socket = cause.downcast_ref::<std::io::Error>();
    of_hyper.is_some_and(hyper::Error::is_incomplete_message)
        || of_socket.is_some_and(|error| {
            matches!(
                error.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset
            )
        })
}
