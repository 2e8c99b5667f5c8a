//! Changes numbers in answers like a careless model.

use super::hash::Draws;

/// Returns the text with its first number slightly changed; `None` without a number.
///
/// The number keeps its decimals and thousands separators and always changes: all arithmetic is on integers.
pub(super) fn shift_number(text: &str, draws: &mut Draws) -> Option<String> {
    let start = text.find(|letter: char| letter.is_ascii_digit())?;
    let rest = &text[start..];
    let length = rest
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.' && letter != ',')
        .unwrap_or(rest.len());
    let written = rest[..length].trim_end_matches(['.', ',']);
    let after = &rest[written.len()..];
    let (whole, decimals) = written.split_once('.').unwrap_or((written, ""));
    let digits: String = format!("{whole}{decimals}").replace(',', "");
    let value: i128 = digits.parse().ok()?;

    let step = i128::from(1 + draws.below(9));
    let step = if draws.percent(25) { step * 10 } else { step };
    let shifted = if value >= step && draws.percent(50) {
        value - step
    } else {
        value.checked_add(step)?
    };

    let width = decimals.len() + 1;
    let shifted = format!("{shifted:0width$}");
    let (new_whole, new_decimals) = shifted.split_at(shifted.len() - decimals.len());
    let new_whole = if whole.contains(',') {
        with_commas(new_whole)
    } else {
        new_whole.to_owned()
    };
    let point = if decimals.is_empty() { "" } else { "." };
    Some(format!(
        "{}{new_whole}{point}{new_decimals}{after}",
        &text[..start]
    ))
}

fn with_commas(digits: &str) -> String {
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shifted_number_is_never_the_same_and_keeps_its_form() {
        for text in [
            "0", "7", "42", "-3", "3.14", "0.5", "1,234", "$12.50", "12 km", "99%", "007",
        ] {
            for seed in 0..500 {
                let shifted = shift_number(text, &mut Draws::new(seed)).unwrap();
                let number = |text: &str| -> f64 {
                    let kept = |letter: &char| letter.is_ascii_digit() || "-.".contains(*letter);
                    text.chars()
                        .filter(kept)
                        .collect::<String>()
                        .parse()
                        .unwrap()
                };
                assert!(
                    (number(&shifted) - number(text)).abs() > 0.001,
                    "{text} {shifted}"
                );
                let decimals = |text: &str| text.split_once('.').map(|(_, rest)| rest.len());
                assert_eq!(decimals(&shifted), decimals(text), "{text} {shifted}");
            }
        }
    }

    #[test]
    fn what_is_no_number_is_left_to_others() {
        for text in ["", "Paris", "9".repeat(60).as_str()] {
            assert_eq!(shift_number(text, &mut Draws::new(1)), None, "{text}");
        }
    }

    #[test]
    fn commas_are_put_back() {
        for (digits, expect) in [
            ("1", "1"),
            ("123", "123"),
            ("1234", "1,234"),
            ("1234567", "1,234,567"),
        ] {
            assert_eq!(with_commas(digits), expect);
        }
    }
}
