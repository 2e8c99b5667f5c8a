//! The rules of refresh token rotation. Pure.
//!
//! Refresh tokens rotate to detect theft: using a token that was already replaced ends the session. Two kinds of client
//! must never be logged out by that: one that lost a response, and one that keeps its first token forever because its
//! API's documentation does not mention rotation.

/// Seconds after a rotation during which the replaced token is attributed to a lost response or a parallel tab.
const GRACE_SECONDS: i64 = 30;

/// The meaning of a refresh token for its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The current token: issue the next one.
    Advance,
    /// The previous token, which an honest client may still have: return the current one again.
    Repeat,
    /// A token that was never issued.
    Forged,
    /// A replaced token: it, or its replacement, was stolen.
    Replayed,
}

/// Judges a token by the session's `counter`, the token's counter `presented` and the `age` of the last rotation.
/// `strict` logs out clients that keep their first token forever.
pub(super) fn judge(counter: i32, presented: i32, age: chrono::Duration, strict: bool) -> Verdict {
    match counter - presented {
        0 => Verdict::Advance,
        1 if (counter == 1 && !strict) || age.num_seconds() <= GRACE_SECONDS => Verdict::Repeat,
        ..0 => Verdict::Forged,
        _ => Verdict::Replayed,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A session in memory; the test advances the time.
    #[derive(Default)]
    struct Model {
        counter: i32,
        age_seconds: i64,
        revoked: bool,
        strict: bool,
    }

    impl Model {
        fn refresh(&mut self, presented: i32) -> Option<i32> {
            if self.revoked {
                return None;
            }
            match judge(
                self.counter,
                presented,
                chrono::Duration::seconds(self.age_seconds),
                self.strict,
            ) {
                Verdict::Advance => {
                    self.counter += 1;
                    self.age_seconds = 0;
                    Some(self.counter)
                }
                Verdict::Repeat => Some(self.counter),
                Verdict::Forged => None,
                Verdict::Replayed => {
                    self.revoked = true;
                    None
                }
            }
        }
    }

    proptest! {
        #[test]
        fn strictness_ends_it_after_the_grace(pause in 0_i64..100_000) {
            let mut session = Model { strict: true, ..Model::default() };
            prop_assert_eq!(session.refresh(0), Some(1));
            session.age_seconds = pause;
            prop_assert_eq!(session.refresh(0).is_some(), pause <= GRACE_SECONDS);
            prop_assert_eq!(session.revoked, pause > GRACE_SECONDS);
        }

        #[test]
        fn a_client_that_keeps_its_first_token_is_never_logged_out(pauses in prop::collection::vec(0_i64..100_000, 1..100)) {
            let mut session = Model::default();
            for pause in pauses {
                session.age_seconds += pause;
                prop_assert_eq!(session.refresh(0), Some(1));
            }
        }

        /// A client that lost a response retries within the grace period.
        #[test]
        fn a_client_whose_answers_are_lost_is_never_logged_out(steps in prop::collection::vec((any::<bool>(), 0_i64..100_000), 1..100)) {
            let mut session = Model::default();
            let mut kept = 0;
            let mut lost = false;
            for (loses, pause) in steps {
                session.age_seconds += if lost { pause % (GRACE_SECONDS + 1 - session.age_seconds.min(GRACE_SECONDS)) } else { pause };
                let next = session.refresh(kept);
                prop_assert!(next.is_some());
                lost = loses;
                if !loses {
                    kept = next.unwrap();
                }
            }
        }

        /// Thief and owner share a token, and both rotate. In any interleaving, the session ends within three changes
        /// of turn.
        #[test]
        fn a_thief_is_found_out(stolen_at in 0_usize..6, turns in prop::collection::vec(any::<bool>(), 40)) {
            let mut session = Model::default();
            let mut owner = 0;
            for _ in 0..stolen_at {
                session.age_seconds += 900;
                owner = session.refresh(owner).unwrap();
            }
            let mut thief = owner;
            let (mut changes, mut last) = (0, None);
            for turn in turns {
                session.age_seconds += 900;
                let hand = if turn { &mut thief } else { &mut owner };
                if last.is_some_and(|last| last != turn) {
                    changes += 1;
                }
                last = Some(turn);
                match session.refresh(*hand) {
                    Some(next) => *hand = next,
                    None => break,
                }
            }
            prop_assert!(changes <= 3, "{changes} changes of ownership");
        }

        #[test]
        fn a_replaced_token_revokes_and_a_forged_one_does_not(counter in 2_i32..1_000, presented in 0_i32..2_000) {
            let verdict = judge(counter, presented, chrono::Duration::seconds(GRACE_SECONDS + 1), false);
            let expect = match presented {
                p if p == counter => Verdict::Advance,
                p if p > counter => Verdict::Forged,
                _ => Verdict::Replayed,
            };
            prop_assert_eq!(verdict, expect);
        }
    }
}
