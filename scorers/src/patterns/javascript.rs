//! Translates JavaScript's regular expressions into those of the `regex` crate, which matches in linear time.
//!
//! The meaning is that of `new RegExp(pattern)`, with which promptfoo's benchmarks were written: `\w`, `\d` and `\b` are
//! ASCII, `.` excludes four line ends, and braces, brackets and ampersands are letters where they mean nothing else.
//! Three things are more than JavaScript has without flags: a character is a code point, `\p{…}` and `\u{…}` are
//! understood, and flags such as `(?i)` may stand in the pattern. Look-around and back-references are refused.
//!
//! Only whether a pattern matches is asked, so that no group captures.

mod class;
mod escape;

use std::{iter::Peekable, str::Chars};

use self::escape::{Atom, escaped};
use super::super::ScorerError;

const LINE_ENDS: &str = r"\n\r\x{2028}\x{2029}";

/// A pattern for the `regex` crate.
#[derive(Debug)]
pub(super) struct Translated {
    pub(super) pattern: String,
    /// Whether it asks where it matches: at the start, at the end, or beside a word.
    pub(super) has_anchors: bool,
}

/// The same pattern for the `regex` crate.
///
/// # Errors
/// It is not a pattern of JavaScript, or it uses look-around or back-references.
pub(super) fn translate(pattern: &str) -> Result<Translated, ScorerError> {
    Translation {
        rest: pattern.chars().peekable(),
        groups: capturing_groups(pattern),
        out: String::with_capacity(pattern.len() * 2),
        has_anchors: false,
        flags: Flags::default(),
        open: Vec::new(),
        last: Last::Nothing,
    }
    .run()
    .map_err(ScorerError::Pattern)
}

/// The flags that change what `.`, `^` and `$` mean.
#[derive(Clone, Copy, Default)]
struct Flags {
    dot_all: bool,
    multi_line: bool,
}

/// What a quantifier would repeat.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Atom,
}

struct Translation<'a> {
    rest: Peekable<Chars<'a>>,
    /// Number of capturing groups in the whole pattern; a larger number is no reference.
    groups: u32,
    out: String,
    has_anchors: bool,
    flags: Flags,
    /// The flags outside of each open group.
    open: Vec<Flags>,
    last: Last,
}

impl Translation<'_> {
    fn run(mut self) -> Result<Translated, String> {
        while let Some(c) = self.rest.next() {
            self.last = match c {
                '|' => self.emit("|", Last::Nothing),
                '^' if self.flags.multi_line => self.emit_anchor("(?mR:^)"),
                '^' => self.emit_anchor("^"),
                '$' if self.flags.multi_line => self.emit_anchor("(?mR:$)"),
                '$' => self.emit_anchor("$"),
                '.' if self.flags.dot_all => self.emit("(?s:.)", Last::Atom),
                '.' => self.emit_set(LINE_ENDS, true),
                '(' => self.open_group()?,
                ')' => {
                    let outside = self.open.pop();
                    self.flags =
                        outside.ok_or("unopened group: `)` needs a `(`, or a `\\` before it")?;
                    self.emit(")", Last::Atom)
                }
                '*' | '+' | '?' => self.quantifier(c.encode_utf8(&mut [0; 4]))?,
                '{' => match braces(&self.rest) {
                    Some((from, to)) => self.counted(&from, to.as_deref())?,
                    None => self.emit_char('{'),
                },
                '[' => {
                    let class = class::translate(&mut self.rest)?;
                    self.emit(&class, Last::Atom)
                }
                '\\' => self.escape()?,
                c => self.emit_char(c),
            };
        }
        if !self.open.is_empty() {
            return Err("unclosed group: a `(` needs a `)`, or a `\\` before it".to_owned());
        }
        Ok(Translated {
            pattern: self.out,
            has_anchors: self.has_anchors,
        })
    }

    fn emit_anchor(&mut self, anchor: &str) -> Last {
        self.has_anchors = true;
        self.emit(anchor, Last::Nothing)
    }

    fn emit(&mut self, text: &str, last: Last) -> Last {
        self.out.push_str(text);
        last
    }

    fn emit_char(&mut self, c: char) -> Last {
        let escaped = regex::escape(c.encode_utf8(&mut [0; 4]));
        self.emit(&escaped, Last::Atom)
    }

    /// A set is the same for both cases: the flag `i` would add letters beyond ASCII.
    fn emit_set(&mut self, set: &str, is_negated: bool) -> Last {
        let negation = if is_negated { "^" } else { "" };
        self.emit(&format!("(?-i:[{negation}{set}])"), Last::Atom)
    }

    fn escape(&mut self) -> Result<Last, String> {
        match self.rest.peek().copied() {
            Some('b') => {
                self.rest.next();
                Ok(self.emit_anchor(r"(?-u:\b)"))
            }
            Some('B') => {
                self.rest.next();
                Ok(self.emit_anchor(r"(?-u:\B)"))
            }
            Some('k') if self.rest.clone().nth(1) == Some('<') => Err(NO_REFERENCE.to_owned()),
            Some(digit @ '1'..='9') => {
                let mut number = digit.to_digit(10).unwrap_or_default();
                let mut ahead = self.rest.clone();
                ahead.next();
                while let Some(digit) = ahead.next().and_then(|c| c.to_digit(10)) {
                    number = number.saturating_mul(10).saturating_add(digit);
                }
                if number <= self.groups {
                    return Err(NO_REFERENCE.to_owned());
                }
                self.emit_escaped()
            }
            Some(letter @ ('A' | 'Z' | 'z' | 'G')) => Err(format!(
                "`\\{letter}` is only a letter in JavaScript; write `^` for the start and `$` for the end"
            )),
            _ => self.emit_escaped(),
        }
    }

    fn emit_escaped(&mut self) -> Result<Last, String> {
        Ok(match escaped(&mut self.rest, false)? {
            Atom::Char(c) => self.emit_char(c),
            Atom::Set(set, is_negated) => self.emit_set(set, is_negated),
            Atom::Property(property) => self.emit(&property, Last::Atom),
        })
    }

    fn quantifier(&mut self, quantifier: &str) -> Result<Last, String> {
        if self.last == Last::Nothing {
            return Err(format!(
                "nothing to repeat: `{quantifier}` needs something before it, or a `\\` if the character is meant"
            ));
        }
        self.out.push_str(quantifier);
        if self.rest.next_if_eq(&'?').is_some() {
            self.out.push('?');
        }
        Ok(Last::Nothing)
    }

    fn counted(&mut self, from: &str, to: Option<&str>) -> Result<Last, String> {
        // The closing brace is the first one that follows.
        while self.rest.next().is_some_and(|c| c != '}') {}
        self.quantifier(&match to {
            Some(to) => format!("{{{from},{to}}}"),
            None => format!("{{{from}}}"),
        })
    }

    fn open_group(&mut self) -> Result<Last, String> {
        let outside = self.flags;
        if self.rest.next_if_eq(&'?').is_none() {
            self.open.push(outside);
            return Ok(self.emit("(?:", Last::Nothing));
        }
        // Python's spelling of a named group is known, too.
        self.rest.next_if(|c| *c == 'P');
        match self.rest.peek().copied() {
            Some('<') => {
                self.rest.next();
                let name: String = self.rest.by_ref().take_while(|c| *c != '>').collect();
                let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
                if name.starts_with(['=', '!']) {
                    return Err(NO_LOOK_AROUND.to_owned());
                }
                if name.is_empty() || !name.chars().all(is_name) {
                    return Err(
                        "the name of a group must be letters and digits, as in `(?<name>…)`"
                            .to_owned(),
                    );
                }
                self.open.push(outside);
                Ok(self.emit("(?:", Last::Nothing))
            }
            Some('=' | '!') => Err(NO_LOOK_AROUND.to_owned()),
            _ => self.flags_of_group(outside),
        }
    }

    /// Reads `i)`, `i:`, `i-s:` or `:` after `(?`.
    fn flags_of_group(&mut self, outside: Flags) -> Result<Last, String> {
        let mut is_on = true;
        let mut case = None;
        if self.rest.peek() == Some(&')') {
            return Err(UNKNOWN_GROUP.to_owned());
        }
        loop {
            match self.rest.next() {
                Some('i') => case = Some(is_on),
                Some('s') => self.flags.dot_all = is_on,
                Some('m') => self.flags.multi_line = is_on,
                Some('-') if is_on => is_on = false,
                Some(end @ (':' | ')')) => {
                    let case = match case {
                        None => "",
                        Some(true) => "i",
                        Some(false) => "-i",
                    };
                    if end == ':' {
                        self.open.push(outside);
                        return Ok(self.emit(&format!("(?{case}:"), Last::Nothing));
                    }
                    if case.is_empty() {
                        return Ok(Last::Nothing);
                    }
                    return Ok(self.emit(&format!("(?{case})"), Last::Nothing));
                }
                _ => return Err(UNKNOWN_GROUP.to_owned()),
            }
        }
    }
}

const UNKNOWN_GROUP: &str =
    "after `(?` only `:`, a name as in `<name>`, and the flags `i`, `m` and `s` are known";
const NO_REFERENCE: &str =
    "look-around and back-references are not available; a back-reference such as `\\1` was found";
const NO_LOOK_AROUND: &str =
    "look-around and back-references are not available; `(?=`, `(?!`, `(?<=` or `(?<!` was found";

/// The counts of `{2}`, `{2,}` and `{2,3}` if that is what follows a `{`; otherwise the brace is a letter.
fn braces(rest: &Peekable<Chars<'_>>) -> Option<(String, Option<String>)> {
    let inside: String = rest.clone().take_while(|c| *c != '}').collect();
    if rest.clone().nth(inside.chars().count()) != Some('}') {
        return None;
    }
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    match inside.split_once(',') {
        None => is_number(&inside).then_some((inside, None)),
        Some((from, to)) => (is_number(from) && (to.is_empty() || is_number(to)))
            .then(|| (from.to_owned(), Some(to.to_owned()))),
    }
}

/// The number of groups that capture.
fn capturing_groups(pattern: &str) -> u32 {
    let mut count = 0;
    let mut in_class = false;
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => {
                rest.next();
            }
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class => {
                let after = rest.as_str();
                let named = after.starts_with("?<") || after.starts_with("?P<");
                let looks_behind = after.starts_with("?<=") || after.starts_with("?<!");
                count += u32::from(!after.starts_with('?') || named && !looks_behind);
            }
            _ => {}
        }
    }
    count
}
