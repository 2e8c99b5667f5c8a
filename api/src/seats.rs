//! Limits on concurrent live streams and exports, which hold a connection for long: per user, per network of callers
//! without a login, and for all callers without a login together.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::http::StatusCode;
use opb_core::computing::Asker;

use crate::problem::{ApiError, Result};

/// Maximum number of concurrent streams and exports of one user, or of one network of callers without a login.
const SEATS_EACH: usize = 16;
/// Maximum for all callers without a login together.
const SEATS_OF_STRANGERS: usize = 128;

/// The seats in use.
#[derive(Clone, Default)]
pub(crate) struct Seats(Arc<Mutex<SeatCounts>>);

#[derive(Default)]
struct SeatCounts {
    by: HashMap<Asker, usize>,
    by_strangers: usize,
}

/// A seat; released on drop.
pub(crate) struct Seat {
    seats: Seats,
    asker: Asker,
}

impl Seats {
    /// Takes a seat.
    ///
    /// # Errors
    /// 429 when the caller has used up its seats, 503 when callers without a login have used up theirs.
    pub(crate) fn take(&self, asker: Asker) -> Result<Seat> {
        let is_stranger = matches!(asker, Asker::Network(_));
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.by.get(&asker).is_some_and(|own| *own >= SEATS_EACH) {
            return Err(ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_streams",
                format!("at most {SEATS_EACH} live streams and exports at a time; close one first"),
            ));
        }
        if is_stranger && taken.by_strangers >= SEATS_OF_STRANGERS {
            return Err(ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "too many callers without a login have live streams or exports; try again later, or log in",
            ));
        }
        taken.by_strangers += usize::from(is_stranger);
        *taken.by.entry(asker).or_default() += 1;
        Ok(Seat {
            seats: self.clone(),
            asker,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.by_strangers -= usize::from(matches!(self.asker, Asker::Network(_)));
        if let Some(own) = taken.by.get_mut(&self.asker) {
            *own -= 1;
            if *own == 0 {
                taken.by.remove(&self.asker);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;

    fn at(number: u8) -> Asker {
        Asker::at(IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)))
    }

    #[test]
    fn everybody_has_a_few_seats_and_gets_them_back() {
        let seats = Seats::default();
        for asker in [Asker::User(1), at(1)] {
            let take = || {
                seats
                    .take(asker)
                    .map_err(|refusal| refusal.code().to_owned())
            };
            let mut taken: Vec<Seat> = (0..SEATS_EACH).map(|_| take().unwrap()).collect();
            assert_eq!(take().err().as_deref(), Some("too_many_streams"));
            assert!(seats.take(Asker::User(2)).is_ok());
            assert!(seats.take(at(2)).is_ok());
            taken.pop();
            taken.push(take().unwrap());
            assert!(take().is_err());
        }
        let taken = seats.0.lock().unwrap();
        assert_eq!((taken.by.len(), taken.by_strangers), (0, 0));
    }

    #[test]
    fn strangers_have_a_bound_together_and_users_do_not_share_it() {
        let seats = Seats::default();
        let mut taken = Vec::new();
        for number in 0..8 {
            taken.extend((0..SEATS_EACH).map(|_| seats.take(at(number)).unwrap()));
        }
        let refused = seats
            .take(at(100))
            .map_err(|refusal| refusal.code().to_owned());
        assert_eq!(refused.err().as_deref(), Some("busy"));
        assert!(seats.take(Asker::User(1)).is_ok());
        taken.pop();
        assert!(seats.take(at(100)).is_ok());
    }

    #[test]
    fn the_addresses_of_an_ipv6_network_are_one_stranger() {
        let seats = Seats::default();
        let at = |last: u16| {
            let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 7, 0, 0, 0, last);
            Asker::at(IpAddr::V6(address))
        };
        let _taken: Vec<Seat> = (0..16).map(|last| seats.take(at(last)).unwrap()).collect();
        assert!(seats.take(at(99)).is_err());
    }
}
