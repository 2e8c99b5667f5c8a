//! A queue that is fair to owners: the calls of one owner do not delay those of another, however many wait.
//!
//! Start-time fair queueing (Goyal, Vin and Cheng, 1996): each owner has a virtual time that advances by 1 ÷ weight
//! with every call, and the owner with the lowest virtual time is next.

use std::collections::VecDeque;

/// A caller that waits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Caller {
    /// The owner of the run.
    pub(crate) owner_id: i64,
    /// The weight of the run: twice the weight gets twice as many calls.
    pub(crate) weight: f64,
}

/// The waiting items, by owner.
pub(super) struct FairQueue<T> {
    flows: Vec<Flow<T>>,
    /// The virtual time of the latest call.
    now: f64,
}

struct Flow<T> {
    owner_id: i64,
    at: f64,
    waiting: VecDeque<(f64, T)>,
}

impl<T> FairQueue<T> {
    pub(super) fn new() -> Self {
        Self {
            flows: Vec::new(),
            now: 0.0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Adds an item at the end of its owner's line.
    pub(super) fn push(&mut self, caller: Caller, item: T) {
        let step = 1.0 / caller.weight;
        let known = self
            .flows
            .iter_mut()
            .find(|flow| flow.owner_id == caller.owner_id);
        if let Some(flow) = known {
            flow.waiting.push_back((step, item));
        } else {
            // A new owner has no claim to earlier time.
            self.flows.push(Flow {
                owner_id: caller.owner_id,
                at: self.now,
                waiting: VecDeque::from([(step, item)]),
            });
        }
    }

    /// Takes the item of the owner with the lowest virtual time.
    pub(super) fn pop(&mut self) -> Option<T> {
        let next = self
            .flows
            .iter()
            .enumerate()
            .min_by(|(_, one), (_, other)| one.at.total_cmp(&other.at))
            .map(|(index, _)| index)?;
        let flow = &mut self.flows[next];
        let (step, item) = flow.waiting.pop_front()?;
        self.now = flow.at;
        flow.at += step;
        if flow.waiting.is_empty() {
            self.flows.remove(next);
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(owner_id: i64, weight: f64) -> Caller {
        Caller { owner_id, weight }
    }

    fn order(queue: &mut FairQueue<&'static str>, count: usize) -> String {
        (0..count).filter_map(|_| queue.pop()).collect()
    }

    #[test]
    fn owners_take_turns_by_weight() {
        let mut queue = FairQueue::new();
        for _ in 0..100 {
            queue.push(caller(1, 1.0), "a");
        }
        assert_eq!(order(&mut queue, 5), "aaaaa");
        for _ in 0..4 {
            queue.push(caller(2, 1.0), "b");
        }
        assert_eq!(order(&mut queue, 8), "babababa");
        for _ in 0..20 {
            queue.push(caller(3, 4.0), "c");
        }
        let turns = order(&mut queue, 25);
        let count = turns.matches('c').count();
        assert!((19..=20).contains(&count), "four to one: {turns}");
        assert_eq!(order(&mut queue, 1000).len(), 204 - 5 - 8 - 25 - 80);
        assert!(queue.is_empty());
    }

    #[test]
    fn nobody_waits_for_ever_beside_somebody_heavier() {
        let mut queue = FairQueue::new();
        queue.push(caller(1, 1.0 / 32.0), "light");
        queue.push(caller(1, 1.0 / 32.0), "light");
        let mut turns = 0;
        let mut light = 0;
        while light < 2 {
            queue.push(caller(2, 32.0), "heavy");
            turns += 1;
            light += usize::from(queue.pop() == Some("light"));
            assert!(turns <= 1100, "{light}");
        }
    }
}
