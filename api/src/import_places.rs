//! A limit on concurrent imports of prompts, because each holds a connection for up to some thousand statements: a
//! few in total, and one per user.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::http::StatusCode;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::problem::{ApiError, Result};

/// Maximum number of concurrent imports.
const PLACES: usize = 2;
/// Maximum time that an import waits for a place.
const PATIENCE: Duration = Duration::from_secs(5);

/// The places of imports.
pub(crate) struct ImportPlaces {
    free: Semaphore,
    users: Mutex<HashSet<i64>>,
}

/// A place; released on drop.
pub(crate) struct ImportPlace<'a> {
    _permit: SemaphorePermit<'a>,
    _user: OneOfUser<'a>,
}

/// Marks that a user has an import in progress or waiting for a place.
struct OneOfUser<'a> {
    places: &'a ImportPlaces,
    user_id: i64,
}

impl Default for ImportPlaces {
    fn default() -> Self {
        Self {
            free: Semaphore::new(PLACES),
            users: Mutex::default(),
        }
    }
}

impl ImportPlaces {
    /// Takes a place for an import of a user; waits briefly for one.
    ///
    /// # Errors
    /// The user already has an import in progress, or all places stay taken.
    pub(crate) async fn take(&self, user_id: i64) -> Result<ImportPlace<'_>> {
        let is_first = {
            let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
            users.insert(user_id)
        };
        if !is_first {
            return Err(ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "import_under_way",
                "your previous import is still in progress; send the next one when it has finished",
            ));
        }
        let user = OneOfUser {
            places: self,
            user_id,
        };
        match tokio::time::timeout(PATIENCE, self.free.acquire()).await {
            Ok(Ok(permit)) => Ok(ImportPlace {
                _permit: permit,
                _user: user,
            }),
            Ok(Err(_)) | Err(_) => Err(ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "other users' imports are in progress; try again in a moment",
            )),
        }
    }
}

impl Drop for OneOfUser<'_> {
    fn drop(&mut self) {
        let users = &self.places.users;
        let mut users = users.lock().unwrap_or_else(PoisonError::into_inner);
        users.remove(&self.user_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_user_has_one_place_and_others_wait_for_a_moment() {
        let places = ImportPlaces::default();
        let check = async |user_id: i64, expect: Option<&str>| {
            let refused = places.take(user_id).await.err();
            let code = refused.map(|refusal| refusal.code().to_owned());
            assert_eq!(code.as_deref(), expect, "user {user_id}");
        };
        let ada = places.take(1).await.unwrap();
        check(1, Some("import_under_way")).await;
        check(2, None).await;
        let bob = places.take(2).await.unwrap();
        check(3, Some("busy")).await;
        check(3, Some("busy")).await;
        drop(ada);
        check(3, None).await;
        check(1, None).await;
        drop(bob);
    }
}
