//! The labels of metrics, and limits on their values. Prometheus keeps a series for every value for ever, so the id of
//! a run, an item, a prompt or a user is never a label, and user-defined names are limited here.

use std::{
    collections::HashSet,
    sync::{PoisonError, RwLock},
};

/// Every label of every metric, in alphabetical order; a metric with another label cannot be created.
/// Before adding one, make sure that its values are a closed set, or limit them with [`Names`].
pub(super) const LABELS: [&str; 11] = [
    "kind", "method", "model", "outcome", "pool", "provider", "route", "scorer", "state", "status",
    "type",
];

/// The label value of all names beyond the limit.
const OTHER: &str = "other";

/// User-defined names: the first ones, up to a limit, are label values of their own; all others share `other`.
pub struct Names {
    most: usize,
    known: RwLock<HashSet<String>>,
}

impl Names {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            known: RwLock::default(),
        }
    }

    /// The name, or `other`.
    pub fn label<'a>(&self, name: &'a str) -> &'a str {
        if self
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(name)
        {
            return name;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() < self.most {
            known.insert(name.to_owned());
        }
        if known.contains(name) { name } else { OTHER }
    }
}

/// The labels of metrics about one model, with a limited number of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelLabels {
    provider: String,
    model: String,
}

impl ModelLabels {
    pub(super) fn new(providers: &Names, models: &Names, provider: &str, model: &str) -> Self {
        let known = models.label(&format!("{provider}:{model}")) != OTHER;
        Self {
            provider: providers.label(provider).to_owned(),
            model: if known { model } else { OTHER }.to_owned(),
        }
    }

    /// The provider.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// The provider and the model.
    #[must_use]
    pub fn both(&self) -> [&str; 2] {
        [&self.provider, &self.model]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded() {
        let names = Names::new(2);
        let labels = ["a", "b", "c", "a", "b", "d"].map(|name| names.label(name));
        assert_eq!(labels, ["a", "b", "other", "a", "b", "other"]);
    }

    #[test]
    fn models_are_bounded_and_keep_their_provider() {
        let (providers, models) = (Names::new(2), Names::new(2));
        let labels = [("p", "a"), ("q", "a"), ("p", "b"), ("r", "c"), ("p", "a")].map(
            |(provider, model)| {
                let labels = ModelLabels::new(&providers, &models, provider, model);
                labels.both().join(":")
            },
        );
        assert_eq!(labels, ["p:a", "q:a", "p:other", "other:other", "p:a"]);
    }
}
