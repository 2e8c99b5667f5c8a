//! Translates what stands between brackets. In JavaScript, `[`, `&&` and `--` are letters there, and `[]` matches
//! nothing.

use std::{fmt::Write as _, iter::Peekable, str::Chars};

use super::escape::{Atom, escaped};

const UNCLOSED: &str = "unclosed class: a `[` needs a `]`, or a `\\` before it";

/// Reads a class behind its `[`, and its `]`.
pub(super) fn translate(rest: &mut Peekable<Chars<'_>>) -> Result<String, String> {
    let is_negated = rest.next_if_eq(&'^').is_some();
    let mut out = String::from(if is_negated { "[^" } else { "[" });
    let empty = out.len();
    while let Some(from) = atom(rest)? {
        let mut ahead = rest.clone();
        let is_range = ahead.next() == Some('-') && ahead.next().is_some_and(|c| c != ']');
        if !is_range {
            push(&mut out, &from);
            continue;
        }
        rest.next();
        let Some(to) = atom(rest)? else {
            return Err(UNCLOSED.to_owned());
        };
        if let (Atom::Char(low), Atom::Char(high)) = (&from, &to) {
            if low > high {
                return Err(format!(
                    "the range `{low}-{high}` is out of order; write `{high}-{low}`, or `\\-` for the character"
                ));
            }
            push(&mut out, &from);
            out.push('-');
            push(&mut out, &to);
        } else {
            // A range needs two characters: otherwise the dash is one, too.
            push(&mut out, &from);
            push(&mut out, &Atom::Char('-'));
            push(&mut out, &to);
        }
    }
    if out.len() == empty {
        let nothing = r"[^\x{0}-\x{10ffff}]";
        return Ok(if is_negated { "(?s:.)" } else { nothing }.to_owned());
    }
    out.push(']');
    Ok(out)
}

/// The next character or set; `None` at the end of the class.
fn atom(rest: &mut Peekable<Chars<'_>>) -> Result<Option<Atom>, String> {
    match rest.next() {
        None => Err(UNCLOSED.to_owned()),
        Some(']') => Ok(None),
        Some('\\') => escaped(rest, true).map(Some),
        Some(c) => Ok(Some(Atom::Char(c))),
    }
}

fn push(out: &mut String, atom: &Atom) {
    // Writing to a string cannot fail.
    let _ = match atom {
        Atom::Char(c) => write!(out, "\\x{{{:x}}}", u32::from(*c)),
        Atom::Set(set, false) => write!(out, "{set}"),
        Atom::Set(set, true) => write!(out, "[^{set}]"),
        Atom::Property(property) => write!(out, "{property}"),
    };
}
