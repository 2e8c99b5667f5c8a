//! The money reserved for a shard under its run's budget, and its settlement.
//!
//! Without a budget, nothing is reserved, and every sum is zero.

use opb_core::{
    runs::{NewEvaluation, Settlement, cost_bound_microusd},
    template::Message,
};

use crate::{evaluate::Evaluated, prepared::PreparedModel};

/// The maximum cost of a call, in micro-dollars. Zero for models that cannot be called.
pub(crate) fn bound_microusd(model: &PreparedModel, messages: &[Message]) -> i64 {
    let Ok(provider) = &model.provider else {
        return 0;
    };
    let (Some(price), Some(output_limit)) = (model.price, model.output_limit) else {
        return 0; // Such a model is free, or cannot be called under a budget.
    };
    let tokens = model.request_tokens(provider.as_ref(), messages);
    cost_bound_microusd(price, output_limit, tokens, messages.len())
}

/// The reservation of a shard, in micro-dollars.
#[derive(Debug, Default)]
pub(crate) struct Reservation {
    /// The total reservation.
    held: i64,
    /// The bounds of unrecorded results.
    recordable: i64,
    /// The part of them that may have been paid for, at unknown cost.
    unaccounted: i64,
    /// The bounds of evaluations that ended without any call.
    uncalled: i64,
}

impl Reservation {
    /// Adds the bounds of calls that may start now.
    pub(crate) fn put(&mut self, bounds_microusd: &[i64]) {
        self.held += bounds_microusd.iter().sum::<i64>();
    }

    /// Notes the result of an evaluation. A cost above its bound is impossible: it is reduced to the bound.
    pub(crate) fn note(&mut self, bound_microusd: i64, evaluated: &mut Evaluated) {
        match &mut evaluated.evaluation {
            Some(evaluation) => {
                // A cached response costs nothing, whatever its original cost.
                let cost = if evaluation.cached {
                    0
                } else {
                    cut(evaluation, bound_microusd)
                };
                self.recordable += bound_microusd;
                if evaluated.unaccounted {
                    self.unaccounted += bound_microusd - cost;
                }
            }
            None if evaluated.unaccounted => {}
            None => self.uncalled += bound_microusd,
        }
    }

    /// The settlement for recording the unrecorded results.
    pub(crate) fn settlement(&self) -> Settlement {
        Settlement {
            keep_microusd: self.held - self.recordable,
            unaccounted_microusd: self.unaccounted,
        }
    }

    /// Marks the unrecorded results as recorded.
    pub(crate) fn settled(&mut self) {
        self.held -= self.recordable;
        self.recordable = 0;
        self.unaccounted = 0;
    }

    /// The money that may have been paid if the shard is abandoned now: for every call that started and is not
    /// recorded.
    pub(crate) fn spendable(&self) -> i64 {
        self.held - self.uncalled
    }
}

/// Reduces a cost to its bound, and returns it.
fn cut(evaluation: &mut NewEvaluation, bound_microusd: i64) -> i64 {
    let answer = evaluation.answer.as_mut();
    let Some(cost) = answer.and_then(|answer| answer.cost_microusd.as_mut()) else {
        return 0;
    };
    if *cost > bound_microusd {
        tracing::warn!(
            cost_microusd = *cost,
            bound_microusd,
            "a provider reports more tokens than possible; recording the maximum of {bound_microusd} micro-dollars as the cost"
        );
        *cost = bound_microusd;
    }
    *cost
}

#[cfg(test)]
mod tests {
    use opb_core::runs::Answer;

    use super::*;

    fn ended(cost_microusd: Option<i64>, unaccounted: bool) -> Evaluated {
        Evaluated {
            evaluation: Some(NewEvaluation {
                answer: Some(Answer {
                    cost_microusd,
                    ..Answer::default()
                }),
                ..NewEvaluation::default()
            }),
            unaccounted,
        }
    }

    #[test]
    fn money_moves_by_how_an_evaluation_ended() {
        let mut reservation = Reservation::default();
        reservation.put(&[100, 100, 100, 100, 100]);
        let mut dear = ended(Some(170), false);
        reservation.note(100, &mut dear);
        assert_eq!(dear.evaluation.unwrap().cost_microusd(), Some(100), "cut");
        reservation.note(100, &mut ended(Some(30), true));
        reservation.note(100, &mut ended(None, true));
        let expect = Settlement {
            keep_microusd: 200,
            unaccounted_microusd: 70 + 100,
        };
        assert_eq!(reservation.settlement(), expect);
        reservation.settled();
        assert_eq!(reservation.settlement().keep_microusd, 200);

        let halted = |unaccounted| Evaluated {
            evaluation: None,
            unaccounted,
        };
        assert_eq!(reservation.spendable(), 200, "both calls may run");
        reservation.note(100, &mut halted(false));
        assert_eq!(reservation.spendable(), 100);
        reservation.note(100, &mut halted(true));
        assert_eq!(
            reservation.spendable(),
            100,
            "an attempt of it may have been paid for"
        );
    }
}
