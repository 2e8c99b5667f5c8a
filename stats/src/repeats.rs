//! Unbiased estimates from repeated tries of one item: pass@k, pass^k and majority@k.

/// The probability that at least one of `k` tries passes, from `correct` of `tries`; `None` for fewer tries than `k`.
///
/// Chen et al. (2021), "Evaluating large language models trained on code", arXiv:2107.03374:
/// `1 − C(n − c, k) / C(n, k)`.
#[must_use]
pub fn pass_at_k(correct: usize, tries: usize, k: usize) -> Option<f64> {
    all_drawn_from(tries.checked_sub(correct)?, tries, k).map(|none| 1.0 - none)
}

/// The probability that all of `k` tries pass; `None` for fewer tries than `k`.
///
/// Yao et al. (2024), "τ-bench", arXiv:2406.12045, written pass^k: `C(c, k) / C(n, k)`.
#[must_use]
pub fn pass_hat_k(correct: usize, tries: usize, k: usize) -> Option<f64> {
    (correct <= tries).then(|| all_drawn_from(correct, tries, k))?
}

/// The probability that the most frequent of `k` answers is the correct one; a tied vote is decided by lot.
///
/// `wrong` holds the count of each wrong answer. The voting is that of Wang et al. (2023), "Self-consistency improves
/// chain of thought reasoning", arXiv:2203.11171; the estimate is the mean over all `C(n, k)` choices of answers, a
/// U-statistic after Hoeffding (1948), Annals of Mathematical Statistics 19.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
pub fn majority_at_k(correct: usize, wrong: &[usize], k: usize) -> Option<f64> {
    let tries = correct + wrong.iter().sum::<usize>();
    if k == 0 || k > tries {
        return None;
    }
    let mut won = 0.0;
    for votes in 1..=correct.min(k) {
        // ways[d][t]: d wrong answers drawn so far, t of them with as many votes as the correct one.
        let mut ways = vec![vec![0.0_f64; wrong.len() + 1]; k - votes + 1];
        ways[0][0] = choose(correct, votes);
        for &given in wrong {
            let mut next = vec![vec![0.0_f64; wrong.len() + 1]; k - votes + 1];
            for (drawn, row) in ways.iter().enumerate() {
                for (even, count) in row.iter().enumerate().filter(|(_, count)| **count > 0.0) {
                    for more in 0..=given.min(votes).min(k - votes - drawn) {
                        next[drawn + more][even + usize::from(more == votes)] +=
                            count * choose(given, more);
                    }
                }
            }
            ways = next;
        }
        let last = ways[k - votes].iter().enumerate();
        won += last
            .map(|(even, count)| count / (even + 1) as f64)
            .sum::<f64>();
    }
    Some(won / choose(tries, k))
}

/// The probability that `k` draws without replacement from `of` all come from a subset of size `part`.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
fn all_drawn_from(part: usize, of: usize, k: usize) -> Option<f64> {
    if k == 0 || k > of {
        return None;
    }
    if k > part {
        return Some(0.0);
    }
    let factor = |drawn: usize| (part - drawn) as f64 / (of - drawn) as f64;
    Some((0..k).map(factor).product())
}

/// The binomial coefficient; exact while it fits a double.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
pub(super) fn choose(of: usize, k: usize) -> f64 {
    if k > of {
        return 0.0;
    }
    let k = k.min(of - k);
    (0..k).fold(1.0, |ways, at| ways * (of - at) as f64 / (at + 1) as f64)
}
