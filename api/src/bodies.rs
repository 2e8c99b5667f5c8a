//! Limits on the memory that all request bodies together may use.
//!
//! A client without a login may send small bodies only. Larger bodies share a budget of bytes, of which each user
//! gets a part, so that clients that never finish a body, or send many at once, cannot exhaust the memory of the
//! process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{extract::Request, http::StatusCode, middleware::Next, response::Response};

use crate::problem::{ApiError, Result};

/// Maximum size of a body without a valid credential, and of a body that is not counted against the budget.
pub(crate) const SMALL_BYTES: u64 = 64 * 1024;
/// Number of bodies of the maximum size that the budget holds.
const BODIES: u64 = 8;
/// Number of them that one user may use.
const BODIES_PER_USER: u64 = 2;

/// The memory budget of large bodies.
#[derive(Clone)]
pub(crate) struct Bodies(Arc<Mutex<Budget>>);

struct Budget {
    most: u64,
    most_per_user: u64,
    held: u64,
    held_by: HashMap<i64, u64>,
}

/// The share of the budget that one body uses; released on drop.
pub(crate) struct BodyPermit {
    bodies: Bodies,
    user_id: i64,
    bytes: u64,
}

impl Bodies {
    /// A budget for bodies of at most `body_limit_bytes` each.
    pub(crate) fn new(body_limit_bytes: u64) -> Self {
        Self(Arc::new(Mutex::new(Budget {
            most: BODIES * body_limit_bytes,
            most_per_user: BODIES_PER_USER * body_limit_bytes,
            held: 0,
            held_by: HashMap::new(),
        })))
    }

    /// Starts counting a body of a user.
    pub(crate) fn begin(&self, user_id: i64) -> BodyPermit {
        BodyPermit {
            bodies: self.clone(),
            user_id,
            bytes: 0,
        }
    }
}

impl BodyPermit {
    /// Raises the body's size to this many bytes.
    ///
    /// # Errors
    /// The budget, or the user's part of it, is exhausted.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<()> {
        if bytes <= SMALL_BYTES {
            return Ok(());
        }
        let more = bytes - self.bytes;
        let mut budget = self.bodies.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held_by_user = budget.held_by.get(&self.user_id).copied().unwrap_or(0) + more;
        if held_by_user > budget.most_per_user {
            return Err(ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_bodies",
                format!(
                    "your requests send more than {} bytes at once; wait until one of them has finished",
                    budget.most_per_user
                ),
            ));
        }
        if budget.held + more > budget.most {
            return Err(ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "too many large requests are in progress; try again in a moment",
            ));
        }
        budget.held += more;
        budget.held_by.insert(self.user_id, held_by_user);
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for BodyPermit {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut budget = self.bodies.0.lock().unwrap_or_else(PoisonError::into_inner);
        budget.held -= self.bytes;
        if let Some(held) = budget.held_by.get_mut(&self.user_id) {
            *held -= self.bytes;
            if *held == 0 {
                budget.held_by.remove(&self.user_id);
            }
        }
    }
}

/// Holds the portion of a request's body until the response is sent, because the parsed body lives as long.
#[derive(Clone, Default)]
pub(crate) struct BodyPermitSlot(Arc<Mutex<Option<BodyPermit>>>);

impl BodyPermitSlot {
    /// Stores a portion.
    pub(crate) fn put(&self, portion: BodyPermit) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(portion);
    }
}

/// Handles a request, then releases its body's portion of the budget.
pub(crate) async fn give_back(mut request: Request, next: Next) -> Response {
    let kept = BodyPermitSlot::default();
    request.extensions_mut().insert(kept.clone());
    let response = next.run(request).await;
    drop(kept);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1024 * 1024;

    #[test]
    fn each_user_gets_a_part_and_everybody_together_the_whole() {
        let bodies = Bodies::new(LIMIT);
        let held = |user_id: i64, bytes: u64| {
            let mut portion = bodies.begin(user_id);
            portion.grow(bytes).map(|()| portion)
        };
        let mut taken = Vec::new();
        for user_id in 0..4 {
            taken.push(held(user_id, LIMIT).unwrap());
            let mut growing = held(user_id, LIMIT / 2).unwrap();
            growing.grow(LIMIT).unwrap();
            taken.push(growing);
            assert!(held(user_id, SMALL_BYTES + 1).is_err(), "two of one user");
            assert!(held(user_id, SMALL_BYTES).is_ok(), "small ones are free");
        }
        assert!(held(9, SMALL_BYTES + 1).is_err(), "eight of everybody");
        taken.pop();
        taken.push(held(9, LIMIT).unwrap());
        assert!(held(3, SMALL_BYTES + 1).is_err());
        drop(taken);
        let budget = bodies.0.lock().unwrap();
        assert_eq!((budget.held, budget.held_by.len()), (0, 0));
    }
}
