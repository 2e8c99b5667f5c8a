//! Regular expressions: translated from JavaScript's, compiled within limits, and cached.
//!
//! Compiling one takes longer than the rest of an evaluation on our side, and a pattern built from an item's values
//! repeats for every prompt, model and repeat.

mod javascript;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use regex::{Regex, RegexBuilder};

use super::{
    MAX_PATTERN_BYTES, MAX_PATTERN_CHARS, ScorerError,
    effort::{Effort, PATTERN_SIZES},
};

/// Maximum number of cached patterns; then the cache is cleared, and patterns in use are compiled again. One takes
/// about ten kilobytes, and never more than [`MAX_PATTERN_BYTES`] and its scratch space.
const KEPT: usize = 128;

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    /// As the author wrote it.
    pub(super) written: String,
    pub(super) regex: Regex,
}

/// The cached patterns of one scorer.
#[derive(Debug, Default)]
pub(super) struct Patterns(Mutex<HashMap<String, Arc<Pattern>>>);

impl Patterns {
    /// The compiled pattern, from the cache if it is there.
    ///
    /// # Errors
    /// It is not a regular expression, or it is too large.
    pub(super) fn compile(
        &self,
        text: String,
        effort: &Effort,
    ) -> Result<Arc<Pattern>, ScorerError> {
        if let Some(pattern) = self.lock().get(&text) {
            return Ok(Arc::clone(pattern));
        }
        // Outside the lock, so that others do not wait; compiling twice is harmless.
        let regex = compile(&text, effort)?;
        let pattern = Arc::new(Pattern {
            written: text.clone(),
            regex,
        });
        let mut kept = self.lock();
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(text, Arc::clone(&pattern));
        Ok(pattern)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Pattern>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tries the smallest size limit first: small patterns cost little, and the compiled size is only known afterwards.
fn compile(text: &str, effort: &Effort) -> Result<Regex, ScorerError> {
    if text.chars().count() > MAX_PATTERN_CHARS {
        return Err(ScorerError::Pattern(format!(
            "it is longer than {MAX_PATTERN_CHARS} characters"
        )));
    }
    effort.add_pattern(text.len());
    let translated = javascript::translate(text)?;
    for (size_bytes, steps) in PATTERN_SIZES {
        effort.add(steps);
        let built = RegexBuilder::new(&translated.pattern)
            .size_limit(size_bytes)
            .dfa_size_limit(MAX_PATTERN_BYTES)
            .build();
        match built {
            Ok(regex) if matches_everything(&regex, translated.has_anchors) => {
                return Err(ScorerError::Pattern(
                    "it matches every output, even an empty one; write what must be there"
                        .to_owned(),
                ));
            }
            Ok(regex) => return Ok(regex),
            Err(regex::Error::CompiledTooBig(_)) => {}
            Err(error) => {
                // Before that stands the translated pattern, which the author does not know.
                let message = error.to_string();
                let message = message.rsplit("error: ").next().unwrap_or_default();
                return Err(ScorerError::Pattern(message.to_owned()));
            }
        }
    }
    Err(ScorerError::Pattern(
        "it is too complex; use smaller repetitions".to_owned(),
    ))
}

/// Whether a pattern matches every output. Without anchors, one that matches nothing at all does; with them, one that matches
/// these as well.
fn matches_everything(regex: &Regex, has_anchors: bool) -> bool {
    const OUTPUTS: [&str; 4] = ["a", " ", "\n", "a\nb"];
    regex.is_match("") && (!has_anchors || OUTPUTS.iter().all(|output| regex.is_match(output)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_compiled_once_and_the_number_is_bounded() {
        let patterns = Patterns::default();
        let effort = Effort::default();
        let compile = |text: String| patterns.compile(text, &effort);
        let first = compile("a+".into()).unwrap();
        let steps = effort.steps();
        assert!(Arc::ptr_eq(&first, &compile("a+".into()).unwrap()));
        assert_eq!(effort.steps(), steps);
        for number in 0..3 * KEPT {
            compile(format!("a{{{}}}", number % 900 + 1)).unwrap();
            assert!(patterns.lock().len() <= KEPT);
        }
        assert!(compile("(".into()).is_err());
    }

    #[test]
    fn a_larger_pattern_takes_more_steps() {
        let steps = |text: &str| {
            let effort = Effort::default();
            let compiled = Patterns::default().compile(text.to_owned(), &effort);
            (compiled.is_ok(), effort.steps())
        };
        let (small, large) = (steps("^the answer is [0-9]+$"), steps(r"\p{L}{10}"));
        assert!(
            small.0 && large.0 && large.1 >= 10 * small.1,
            "{small:?} {large:?}"
        );
        let refused = steps(r"\p{L}{1000}");
        assert!(!refused.0 && refused.1 >= large.1, "{refused:?}");
    }
}
