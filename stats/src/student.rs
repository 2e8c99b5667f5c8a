//! Student's t and the normal distribution, to double precision.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};
use statrs::function::beta::beta_reg;

/// `P(|T| ≥ |t|)` for Student's t with `freedom` degrees of freedom.
///
/// Abramowitz & Stegun 26.5.27: the regularised incomplete beta function at `ν / (ν + t²)`.
pub(super) fn two_sided_p(t: f64, freedom: f64) -> f64 {
    if !t.is_finite() || freedom.is_nan() || freedom <= 0.0 {
        return if t.is_infinite() { 0.0 } else { 1.0 };
    }
    beta_reg(0.5 * freedom, 0.5, freedom / (freedom + t * t)).clamp(0.0, 1.0)
}

/// The quantile of Student's t for a probability in (0.5, 1).
///
/// Starts from `statrs`, refined by Newton's method on the distribution function.
pub(super) fn t_quantile(probability: f64, freedom: f64) -> f64 {
    use statrs::distribution::Continuous;
    let Ok(student) = StudentsT::new(0.0, 1.0, freedom) else {
        return f64::NAN;
    };
    let mut t = student.inverse_cdf(probability);
    for _ in 0..4 {
        let off = (1.0 - 0.5 * two_sided_p(t, freedom)) - probability;
        let step = off / student.pdf(t);
        if !step.is_finite() || step.abs() <= 1e-15 * t.abs() {
            break;
        }
        t -= step;
    }
    t
}

/// The two-sided quantile of the standard normal distribution for a confidence such as 0.95.
pub(super) fn z_two_sided(confidence: f64) -> f64 {
    normal_quantile(0.5 + 0.5 * confidence)
}

/// The quantile of the standard normal distribution.
pub(super) fn normal_quantile(probability: f64) -> f64 {
    Normal::standard().inverse_cdf(probability)
}

/// The distribution function of the standard normal distribution.
pub(super) fn normal_cdf(value: f64) -> f64 {
    Normal::standard().cdf(value)
}
