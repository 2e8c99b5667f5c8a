//! Detects whether a model's results have changed since its first run. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{DriftPoint, ModelDrift, Row};
use crate::{leaderboards::CONFIDENCE, stats};

/// The drift of each model that was measured at least twice with the same prompt, by name.
pub(super) fn model_drifts(rows: &[Row]) -> Vec<ModelDrift> {
    let mut models: BTreeMap<(&str, Uuid), Vec<&Row>> = BTreeMap::new();
    for row in rows {
        models
            .entry((&row.model, row.model_id))
            .or_default()
            .push(row);
    }
    models
        .values()
        .filter_map(|rows| model_drift(rows))
        .collect()
}

/// Compares every later run of a model with the first one that shares a prompt with it.
fn model_drift(rows: &[&Row]) -> Option<ModelDrift> {
    let mut runs: BTreeMap<(DateTime<Utc>, Uuid), Vec<&Row>> = BTreeMap::new();
    for row in rows {
        runs.entry((row.measured_at, row.run_id))
            .or_default()
            .push(row);
    }
    let mut runs = runs.into_iter();
    let ((first_measured_at, first_run_id), first) = runs.next()?;
    let (mut keys, mut pairs) = (Vec::new(), Vec::new());
    for (key, later) in runs {
        let shared: Vec<(&Row, &Row)> = later
            .iter()
            .filter_map(|row| {
                let same = first
                    .iter()
                    .find(|first| first.prompt_version_id == row.prompt_version_id);
                Some((*same?, *row))
            })
            .collect();
        if !shared.is_empty() {
            keys.push(key);
            pairs.push(averaged(&shared));
        }
    }
    let drifts = stats::drifts(&pairs, CONFIDENCE);
    let runs: Vec<DriftPoint> = keys
        .into_iter()
        .zip(drifts)
        .map(|((measured_at, run_id), drift)| DriftPoint {
            run_id,
            measured_at,
            difference: drift.difference,
            low: drift.interval.low,
            high: drift.interval.high,
            items: i32::try_from(drift.shared_items).unwrap_or(i32::MAX),
            drifted: drift.drifted,
        })
        .collect();
    let row = rows.first()?;
    (!runs.is_empty()).then(|| ModelDrift {
        model: row.model.clone(),
        parameters: row.parameters.clone(),
        first_run_id,
        first_measured_at,
        drifted: runs.iter().any(|run| run.drifted),
        runs,
    })
}

/// The items' scores of two runs, averaged over the prompts that have a score for the item in both runs.
fn averaged(shared: &[(&Row, &Row)]) -> (Vec<Option<f32>>, Vec<Option<f32>>) {
    let items = shared
        .iter()
        .map(|(first, _)| first.item_scores.len())
        .max();
    let of_item = |item: usize| {
        let both = shared.iter().filter_map(|(first, later)| {
            Some((
                (*first.item_scores.get(item)?)?,
                (*later.item_scores.get(item)?)?,
            ))
        });
        let (mut count, mut sums) = (0.0_f32, (0.0, 0.0));
        for (first, later) in both {
            count += 1.0;
            sums = (sums.0 + first, sums.1 + later);
        }
        (count > 0.0).then(|| (sums.0 / count, sums.1 / count))
    };
    let means: Vec<Option<(f32, f32)>> = (0..items.unwrap_or(0)).map(of_item).collect();
    (
        means
            .iter()
            .map(|pair| pair.map(|(first, _)| first))
            .collect(),
        means
            .iter()
            .map(|pair| pair.map(|(_, later)| later))
            .collect(),
    )
}
