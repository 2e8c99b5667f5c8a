//! Regular expressions that were compiled before.
//!
//! Compiling one takes longer than everything else that an evaluation costs us, and a pattern that is made of an item's
//! values comes back with every prompt, model and repeat.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use regex::{Regex, RegexBuilder};

use super::{MAX_PATTERN_BYTES, MAX_PATTERN_CHARS, ScorerError};

/// So many are kept; then all are forgotten, and those in use come back. One takes some ten kilobytes, and never more
/// than [`MAX_PATTERN_BYTES`] and its scratch space.
const KEPT: usize = 128;

/// The patterns of one scorer.
#[derive(Debug, Default)]
pub(super) struct Patterns(Mutex<HashMap<String, Arc<Regex>>>);

impl Patterns {
    /// The pattern, compiled now or before.
    ///
    /// # Errors
    /// It is no regular expression, or too large a one.
    pub(super) fn compile(&self, text: String) -> Result<Arc<Regex>, ScorerError> {
        if let Some(regex) = self.lock().get(&text) {
            return Ok(Arc::clone(regex));
        }
        // Not under the lock: others go on meanwhile, and compiling twice harms nobody.
        let regex = Arc::new(compile(&text)?);
        let mut kept = self.lock();
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(text, Arc::clone(&regex));
        Ok(regex)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Regex>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn compile(text: &str) -> Result<Regex, ScorerError> {
    if text.chars().count() > MAX_PATTERN_CHARS {
        return Err(ScorerError::Pattern(format!(
            "it is longer than {MAX_PATTERN_CHARS} characters"
        )));
    }
    let built = RegexBuilder::new(text)
        .size_limit(MAX_PATTERN_BYTES)
        .dfa_size_limit(MAX_PATTERN_BYTES)
        .build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            ScorerError::Pattern("it is too complex; use smaller repetitions".to_owned())
        }
        error => ScorerError::Pattern(format!(
            "{error}; look-around and back-references are not available"
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_compiled_once_and_the_number_is_bounded() {
        let patterns = Patterns::default();
        let first = patterns.compile("a+".into()).unwrap();
        assert!(Arc::ptr_eq(&first, &patterns.compile("a+".into()).unwrap()));
        for number in 0..3 * KEPT {
            patterns.compile(format!("a{{{}}}", number % 900)).unwrap();
            assert!(patterns.lock().len() <= KEPT);
        }
        assert!(patterns.compile("(".into()).is_err());
    }
}
