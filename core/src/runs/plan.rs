//! Plans runs: numbers a run's evaluations and divides the numbers into shards. Pure.

/// The dimensions of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunShape {
    /// Number of items.
    pub items: i32,
    /// Number of repeats of each item.
    pub repeats: i16,
    /// Number of prompt versions.
    pub prompts: i16,
    /// Number of models.
    pub models: i16,
}

/// The natural key of an evaluation within its run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EvaluationKey {
    /// The item's position in the benchmark version.
    pub item: i32,
    /// The repeat, from 0.
    pub repeat: i16,
    /// The prompt version's position in the run.
    pub prompt: i16,
    /// The model's position in the run.
    pub model: i16,
}

/// A range of ordinals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardRange {
    /// The first ordinal.
    pub first_ordinal: i64,
    /// Number of consecutive ordinals.
    pub size: i32,
}

/// Maximum size of a shard: a million evaluations become 2,000 shards. Claiming and finishing one takes Postgres some
/// milliseconds, amortised over its evaluations.
const MAX_SHARD_SIZE: i64 = 500;
/// Minimum size of a shard in a run that has as many evaluations: dividing further costs more than it gains, since the calls
/// of a shard are concurrent.
const MIN_SHARD_SIZE: i64 = 16;
/// Runs are divided into about this many shards within these limits, so that every worker gets some.
const AIMED_SHARDS: i64 = 64;
/// Runs of up to this many evaluations, about 64 shards, are divided in the request that submits them; larger ones in a
/// job.
pub(super) const CUT_AT_ONCE: i64 = AIMED_SHARDS * MAX_SHARD_SIZE;

impl RunShape {
    /// The number of evaluations in the run.
    #[must_use]
    pub fn evaluations(self) -> i64 {
        i64::from(self.items)
            * i64::from(self.repeats)
            * i64::from(self.prompts)
            * i64::from(self.models)
    }

    /// Returns the key of an ordinal. Ordinals count models fastest, then prompts, repeats and items, so that the
    /// columns of a leaderboard grow evenly and a run that stops early is still comparable.
    ///
    /// # Panics
    /// Panics if the ordinal is not one of this run.
    #[must_use]
    pub fn key(self, ordinal: i64) -> EvaluationKey {
        assert!(
            (0..self.evaluations()).contains(&ordinal),
            "ordinal {ordinal} is outside of the run"
        );
        let (rest, model) = split(ordinal, i64::from(self.models));
        let (rest, prompt) = split(rest, i64::from(self.prompts));
        let (item, repeat) = split(rest, i64::from(self.repeats));
        let fits = "each part is smaller than the measure it came from";
        EvaluationKey {
            item: i32::try_from(item).expect(fits),
            repeat: i16::try_from(repeat).expect(fits),
            prompt: i16::try_from(prompt).expect(fits),
            model: i16::try_from(model).expect(fits),
        }
    }
}

/// Divides ordinals into shards of nearly equal size that contain all of them and little else. A shard may contain
/// recorded ordinals; its worker skips them.
pub struct Cover {
    ranges: Vec<ShardRange>,
    /// Maximum number of added ordinals per shard.
    most: i64,
    /// Number of added ordinals in the last shard.
    held: i64,
}

impl Cover {
    /// Creates a cover for approximately this many ordinals.
    #[must_use]
    pub fn of_about(count: i64) -> Self {
        Self {
            ranges: Vec::new(),
            most: count
                .div_euclid(AIMED_SHARDS)
                .clamp(MIN_SHARD_SIZE, MAX_SHARD_SIZE),
            held: 0,
        }
    }

    /// Adds the next ordinal, in ascending order.
    pub fn add(&mut self, ordinal: i64) {
        if self.held < self.most
            && let Some(range) = self.ranges.last_mut()
        {
            let width = ordinal - range.first_ordinal + 1;
            if width <= MAX_SHARD_SIZE {
                range.size = i32::try_from(width).unwrap_or(i32::MAX);
                self.held += 1;
                return;
            }
        }
        self.ranges.push(ShardRange {
            first_ordinal: ordinal,
            size: 1,
        });
        self.held = 1;
    }

    /// Returns the shards, in order.
    #[must_use]
    pub fn into_ranges(self) -> Vec<ShardRange> {
        self.ranges
    }
}

fn split(number: i64, measure: i64) -> (i64, i64) {
    (number / measure, number % measure)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_evaluation_has_one_key_and_one_shard(items in 1..40_i32, repeats in 1..4_i16, prompts in 1..4_i16, models in 1..4_i16) {
            let shape = RunShape { items, repeats, prompts, models };
            let mut next = 0;
            let mut keys = HashSet::new();
            for shard in cover(0..shape.evaluations()) {
                prop_assert_eq!(shard.first_ordinal, next);
                next += i64::from(shard.size);
                for ordinal in shard.first_ordinal..next {
                    let key = shape.key(ordinal);
                    prop_assert!(key.item < items && key.repeat < repeats && key.prompt < prompts && key.model < models);
                    prop_assert!(keys.insert(key));
                }
            }
            prop_assert_eq!(next, shape.evaluations());
            prop_assert_eq!(keys.len(), usize::try_from(next).unwrap());
        }
    }

    fn cover(ordinals: impl Iterator<Item = i64>) -> Vec<ShardRange> {
        let ordinals: Vec<i64> = ordinals.collect();
        let mut cover = Cover::of_about(i64::try_from(ordinals.len()).unwrap());
        for ordinal in ordinals {
            cover.add(ordinal);
        }
        cover.into_ranges()
    }

    proptest! {
        #[test]
        fn a_cover_holds_every_ordinal_once(ordinals in proptest::collection::btree_set(0..20_000_i64, 0..2_000)) {
            let ranges = cover(ordinals.iter().copied());
            let held = |ordinal: &i64| {
                let holds = |range: &&ShardRange| {
                    (range.first_ordinal..range.first_ordinal + i64::from(range.size)).contains(ordinal)
                };
                ranges.iter().filter(holds).count()
            };
            prop_assert!(ordinals.iter().all(|ordinal| held(ordinal) == 1));
            let mut next = 0;
            for range in &ranges {
                prop_assert!(range.first_ordinal >= next && (1..=500).contains(&range.size));
                prop_assert!(ordinals.contains(&range.first_ordinal));
                next = range.first_ordinal + i64::from(range.size);
                prop_assert!(ordinals.contains(&(next - 1)), "a shard ends with what it is there for");
            }
        }
    }

    #[test]
    fn a_cover_of_few_ordinals_is_small_and_of_many_wide() {
        let sizes = |ordinals: &[i64]| -> Vec<i32> {
            let ranges = cover(ordinals.iter().copied());
            ranges.iter().map(|range| range.size).collect()
        };
        assert_eq!(sizes(&[]), [] as [i32; 0]);
        assert_eq!(
            sizes(&[5, 6, 900]),
            [2, 1],
            "what lies far apart is no shard"
        );
        let hundred: Vec<i64> = (0..100).collect();
        assert_eq!(sizes(&hundred), [16, 16, 16, 16, 16, 16, 4]);
        let every_tenth: Vec<i64> = (0..100_000).map(|number| number * 10).collect();
        assert_eq!(sizes(&every_tenth).len(), 2_000, "fifty in five hundred");
    }

    #[test]
    fn shards_are_neither_too_many_nor_too_large() {
        let check = |evaluations: i64, expect: usize| {
            assert_eq!(
                cover(0..evaluations).len(),
                expect,
                "{evaluations} evaluations"
            );
        };
        check(1, 1);
        check(16, 1);
        check(60, 4);
        check(540, 34);
        check(5_000, 65);
        check(CUT_AT_ONCE, 64);
        check(1_000_000, 2_000);
    }
}
