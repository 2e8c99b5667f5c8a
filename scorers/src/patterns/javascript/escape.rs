//! What a backslash and the characters after it mean, in a class and outside of one.

use std::{iter::Peekable, str::Chars};

/// A letter or a set of letters, outside and inside of a class.
pub(super) enum Atom {
    /// One character.
    Char(char),
    /// The inside of a class of the `regex` crate, and whether everything else is meant.
    Set(&'static str, bool),
    /// A class of Unicode as written, such as `\p{L}`.
    Property(String),
}

const DIGITS: &str = "0-9";
const WORD: &str = "0-9A-Z_a-z";
const SPACE: &str =
    r"\t-\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}";

/// What a backslash and the characters after it mean, in a class and outside of one.
pub(super) fn escaped(rest: &mut Peekable<Chars<'_>>, in_class: bool) -> Result<Atom, String> {
    let before = rest.clone();
    let Some(c) = rest.next() else {
        return Err(
            "the pattern must not end in a single `\\`; write `\\\\` for the character".to_owned(),
        );
    };
    Ok(Atom::Char(match c {
        'd' => return Ok(Atom::Set(DIGITS, false)),
        'D' => return Ok(Atom::Set(DIGITS, true)),
        'w' => return Ok(Atom::Set(WORD, false)),
        'W' => return Ok(Atom::Set(WORD, true)),
        's' => return Ok(Atom::Set(SPACE, false)),
        'S' => return Ok(Atom::Set(SPACE, true)),
        'p' | 'P' if rest.peek() == Some(&'{') => {
            let name: String = rest.by_ref().take_while(|c| *c != '}').collect();
            return Ok(Atom::Property(format!("\\{c}{name}}}")));
        }
        't' => '\t',
        'n' => '\n',
        'v' => '\u{b}',
        'f' => '\u{c}',
        'r' => '\r',
        'b' if in_class => '\u{8}',
        'c' => {
            let is_control =
                |c: &char| c.is_ascii_alphabetic() || in_class && (c.is_ascii_digit() || *c == '_');
            if let Some(letter) = rest.next_if(is_control) {
                u8::try_from(letter).map_or(letter, |letter| char::from(letter % 32))
            } else {
                // The backslash itself is meant, and a `c` follows.
                *rest = before;
                '\\'
            }
        }
        'x' => hex(rest, 2).map_or(Ok('x'), character)?,
        'u' => unicode(rest)?,
        '0'..='7' => octal(rest, c),
        c => c,
    }))
}

/// Reads exactly `digits` hexadecimal digits, or nothing.
fn hex(rest: &mut Peekable<Chars<'_>>, digits: usize) -> Option<u32> {
    let written: String = rest.clone().take(digits).collect();
    let is_hex = written.len() == digits && written.bytes().all(|c| c.is_ascii_hexdigit());
    if !is_hex {
        return None;
    }
    rest.nth(digits - 1);
    u32::from_str_radix(&written, 16).ok()
}

/// Reads what follows `\u`: four digits, two times four of a surrogate pair, or digits in braces.
fn unicode(rest: &mut Peekable<Chars<'_>>) -> Result<char, String> {
    if rest.peek() == Some(&'{') {
        let written: String = rest.clone().skip(1).take_while(|c| *c != '}').collect();
        let is_hex = !written.is_empty() && written.bytes().all(|c| c.is_ascii_hexdigit());
        if !is_hex {
            return Ok('u');
        }
        let number = u32::from_str_radix(&written, 16).unwrap_or(u32::MAX);
        rest.nth(written.len() + 1);
        return character(number);
    }
    let Some(number) = hex(rest, 4) else {
        return Ok('u');
    };
    if (0xd800..0xdc00).contains(&number) {
        let mut ahead = rest.clone();
        let is_unit = ahead.next() == Some('\\') && ahead.next() == Some('u');
        let low = hex(&mut ahead, 4).filter(|low| is_unit && (0xdc00..0xe000).contains(low));
        if let Some(low) = low {
            *rest = ahead;
            return character(0x1_0000 + ((number - 0xd800) << 10) + (low - 0xdc00));
        }
    }
    character(number)
}

fn character(number: u32) -> Result<char, String> {
    char::from_u32(number).ok_or_else(|| {
        format!(
            "U+{number:04X} is not a character; write the character itself instead of halves of it"
        )
    })
}

/// Reads an octal number of up to three digits, at most 377, that begins with this digit.
fn octal(rest: &mut Peekable<Chars<'_>>, first: char) -> char {
    let mut number = first.to_digit(8).unwrap_or_default();
    for _ in 0..2 {
        let next = rest.peek().and_then(|c| c.to_digit(8));
        let Some(digit) = next.filter(|digit| number * 8 + digit <= 0o377) else {
            break;
        };
        number = number * 8 + digit;
        rest.next();
    }
    char::from_u32(number).unwrap_or_default()
}
