//! Live streams hold a connection for hours, so each user has only so many seats.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::http::StatusCode;

use crate::problem::{Refusal, Result};

/// The most live streams of one user at a time.
const SEATS_PER_USER: usize = 16;
/// The most live streams of everybody who is not logged in, together.
const SEATS_OF_ANONYMOUS: usize = 128;

/// How many seats each user takes; nobody in particular is `None`.
#[derive(Clone, Default)]
pub(crate) struct Seats(Arc<Mutex<HashMap<Option<i64>, usize>>>);

/// A seat, which is free again when this is dropped.
pub(crate) struct Seat {
    seats: Seats,
    user_id: Option<i64>,
}

impl Seats {
    /// Takes a seat, or refuses with 429 when the user has all of theirs.
    pub(crate) fn take(&self, user_id: Option<i64>) -> Result<Seat> {
        let limit = if user_id.is_some() {
            SEATS_PER_USER
        } else {
            SEATS_OF_ANONYMOUS
        };
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = seats.entry(user_id).or_default();
        if *taken >= limit {
            let detail = format!("at most {limit} live streams at a time; close one first");
            return Err(Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_streams",
                detail,
            ));
        }
        *taken += 1;
        Ok(Seat {
            seats: self.clone(),
            user_id,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = seats.get_mut(&self.user_id) {
            *taken -= 1;
            if *taken == 0 {
                seats.remove(&self.user_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_gets_so_many_seats_and_gets_them_back() {
        let seats = Seats::default();
        let mut taken: Vec<Seat> = (0..SEATS_PER_USER)
            .map(|_| seats.take(Some(1)).unwrap())
            .collect();
        assert!(seats.take(Some(1)).is_err());
        assert!(seats.take(Some(2)).is_ok());
        assert!(seats.take(None).is_ok());
        taken.pop();
        taken.push(seats.take(Some(1)).unwrap());
        assert!(seats.take(Some(1)).is_err());
        drop(taken);
        assert!(seats.0.lock().unwrap().is_empty());
    }
}
