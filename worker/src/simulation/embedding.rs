//! Simulated embeddings: texts with common words have similar directions.

use super::hash::{Draws, stable_hash};

/// Dimensions of a simulated embedding.
pub const EMBEDDING_DIMENSIONS: usize = 64;

const WORD_WEIGHT: f64 = 1.0;
/// Parts of words have a small weight, so that `walk` and `walking` are similar.
const TRIGRAM_WEIGHT: f64 = 0.25;

/// Returns a unit vector for a text; the cosine of two grows with the words they have in common.
///
/// Each word adds or subtracts its weight in every dimension by the bits of its hash: random projection of the bag of
/// words.
#[must_use]
pub fn embed(text: &str) -> [f32; EMBEDDING_DIMENSIONS] {
    let mut sum = [0.0_f64; EMBEDDING_DIMENSIONS];
    let lowercase = text.to_lowercase();
    let words = lowercase
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty());
    for word in words {
        add(&mut sum, word.as_bytes(), WORD_WEIGHT);
        for trigram in word.as_bytes().windows(3) {
            add(&mut sum, trigram, TRIGRAM_WEIGHT);
        }
    }
    if sum.iter().all(|value| *value == 0.0) {
        // A text without words still needs a direction.
        add(&mut sum, text.as_bytes(), WORD_WEIGHT);
    }
    let length = sum.iter().map(|value| value * value).sum::<f64>().sqrt();
    sum.map(|value| narrow(value / length))
}

fn add(sum: &mut [f64; EMBEDDING_DIMENSIONS], token: &[u8], weight: f64) {
    let bits = Draws::new(stable_hash(token)).bits();
    for (dimension, value) in sum.iter_mut().enumerate() {
        *value += if bits >> dimension & 1 == 1 {
            weight
        } else {
            -weight
        };
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a vector's precision is f32"
)]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(one: &str, other: &str) -> f32 {
        embed(one)
            .iter()
            .zip(embed(other))
            .map(|(one, other)| one * other)
            .sum()
    }

    #[test]
    fn every_vector_has_length_one() {
        for text in ["", "!!!", "a", "the quick brown fox", "Grüße aus Köln"] {
            assert!((cosine(text, text) - 1.0).abs() < 1e-5, "{text:?}");
        }
    }

    #[test]
    fn similar_texts_are_nearer() {
        let text = "the cat sat on the mat in the sun";
        let near = cosine(text, "a cat sat on the mat in the rain");
        let far = cosine(text, "quarterly revenue grew beyond all forecasts");
        assert!(near > 0.6 && far < 0.35, "{near} {far}");
        assert!(cosine("walk", "walking") > cosine("walk", "revenue"));
        assert!((cosine("The Cat!", "the cat") - 1.0).abs() < 1e-5);
    }

    #[test]
    fn an_embedding_is_pinned_for_ever() {
        let bits: Vec<u32> = embed("hello world")[..3]
            .iter()
            .map(|value| value.to_bits())
            .collect();
        assert_eq!(bits, [3_189_715_472, 3_189_715_472, 1_025_454_608]);
    }
}
