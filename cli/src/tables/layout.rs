//! Fits tables to a terminal: which columns are hidden, which texts are cut, and what never is.
//!
//! A column declares whether it may be hidden and whether its texts may be cut; numbers, ids and times are never cut,
//! and no cell is wrapped. Columns that are empty in every row are hidden. Without a terminal nothing is cut, since
//! programs such as `grep` read the output.

use std::{
    collections::HashSet,
    fmt::{self, Write as _},
    io::IsTerminal as _,
    sync::atomic::{AtomicBool, Ordering},
};

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// The width of a terminal that does not report its own.
const USUAL_WIDTH: usize = 80;
/// A terminal that reports less than this is not believed.
const LEAST_WIDTH: usize = 20;
/// The space between two columns.
const GAP: usize = 2;
/// A text is never cut below this width, however narrow the terminal is.
const LEAST_TEXT: usize = 6;

/// Set by `--wide`: every column is shown in full.
static WIDE: AtomicBool = AtomicBool::new(false);

/// Shows every column in full from now on, for `--wide`.
pub fn show_wide() {
    WIDE.store(true, Ordering::Relaxed);
}

/// What is known about the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// Maximum width of a line in columns; `None` if unlimited.
    pub width: Option<usize>,
    /// Whether headings are bold.
    pub bold: bool,
}

impl Screen {
    /// The screen behind standard output.
    pub fn of_stdout() -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let is_plain = !variable("NO_COLOR").is_empty() || variable("TERM") == "dumb";
        Self {
            width: (is_terminal && !WIDE.load(Ordering::Relaxed)).then(|| {
                let size = terminal_size::terminal_size_of(std::io::stdout());
                usable(size.map(|(width, _)| width.0.into()))
            }),
            bold: is_terminal && !is_plain,
        }
    }
}

/// The width to use: what a terminal reports, if plausible.
fn usable(width: Option<usize>) -> usize {
    width
        .filter(|width| *width >= LEAST_WIDTH)
        .unwrap_or(USUAL_WIDTH)
}

/// How texts that do not fit are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// Never: ids, numbers, times.
    Never,
    /// `the beginning of it…`
    End,
    /// `the begin…end`: names often differ at their ends.
    Middle,
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    heading: &'static str,
    right: bool,
    cut: Cut,
    /// Other columns are hidden before this one gets narrower than this.
    comfort: usize,
    /// Columns with a lower number are hidden first; one without is always shown.
    importance: Option<u8>,
}

impl Column {
    /// A column that is always shown in full.
    pub const fn new(heading: &'static str) -> Self {
        Self {
            heading,
            right: false,
            cut: Cut::Never,
            comfort: 0,
            importance: None,
        }
    }

    /// A column of numbers.
    pub const fn right(heading: &'static str) -> Self {
        let mut column = Self::new(heading);
        column.right = true;
        column
    }

    /// A column of names, which are cut in the middle.
    pub const fn name(heading: &'static str, comfort: usize) -> Self {
        let mut column = Self::new(heading);
        column.cut = Cut::Middle;
        column.comfort = comfort;
        column
    }

    /// A column of prose, which is cut at the end.
    pub const fn prose(heading: &'static str, comfort: usize) -> Self {
        let mut column = Self::new(heading);
        column.cut = Cut::End;
        column.comfort = comfort;
        column
    }

    /// The column may be hidden if space is short, the lowest importance first.
    pub const fn optional(mut self, importance: u8) -> Self {
        self.importance = Some(importance);
        self
    }
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    says_nothing: bool,
}

impl Cell {
    /// A text without information: a column that has no other is hidden.
    pub fn idle(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            says_nothing: true,
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self {
            says_nothing: text.is_empty() || text == "-",
            text,
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// A table, independent of the width of the screen.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    /// Headings, and the meaning of their cells.
    explained: Vec<(&'static str, &'static str)>,
}

/// The shown columns and their widths.
struct Layout {
    shown: Vec<(usize, usize)>,
    left_out: Vec<usize>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self {
            columns: columns.into(),
            rows: Vec::new(),
            explained: Vec::new(),
        }
    }

    /// Explains the cells of a column below the table, if the column is shown.
    pub fn explain(&mut self, heading: &'static str, meaning: &'static str) {
        self.explained.push((heading, meaning));
    }

    /// Adds a row with a cell for each column.
    pub fn add_row(&mut self, row: impl IntoIterator<Item = Cell>) {
        let mut row: Vec<Cell> = row.into_iter().collect();
        row.resize(self.columns.len(), Cell::idle(""));
        self.rows.push(row);
    }

    /// Whether the table has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Renders the table for a screen, without a final line feed.
    pub fn at(&self, screen: Screen) -> String {
        let layout = self.layout(screen.width);
        let width = total(&layout.shown);
        let mut text = if screen.width.is_some_and(|fits| width > fits) {
            self.records(&layout)
        } else {
            self.grid(&layout, screen.bold)
        };
        if !layout.left_out.is_empty() {
            let headings: Vec<&str> = layout
                .left_out
                .iter()
                .map(|at| self.columns[*at].heading)
                .collect();
            let note = format!("Not shown: {} (--wide shows all).", headings.join(", "));
            text.push('\n');
            text.push_str(&wrap(&note, screen.width));
        }
        for (heading, meaning) in &self.explained {
            let mut shown = layout.shown.iter();
            if shown.any(|(at, _)| self.columns[*at].heading == *heading) {
                text.push('\n');
                text.push_str(&wrap(meaning, screen.width));
            }
        }
        text
    }

    /// Hides columns, the least important first, until the others fit and cut names stay distinct.
    fn layout(&self, width: Option<usize>) -> Layout {
        let mut shown: Vec<usize> = (0..self.columns.len())
            .filter(|at| self.rows.is_empty() || self.rows.iter().any(|row| !row[*at].says_nothing))
            .collect();
        let mut left_out = Vec::new();
        let Some(width) = width else {
            return Layout {
                shown: self.natural(&shown),
                left_out,
            };
        };
        // The first layout that fits, if none keeps all names distinct.
        let mut first = None;
        loop {
            let mut sizes = self.natural(&shown);
            let comfortable = self.shrink(&mut sizes, width, |column| column.comfort);
            let least = shown
                .iter()
                .copied()
                .filter(|at| self.columns[*at].importance.is_some())
                .min_by_key(|at| self.columns[*at].importance);
            if comfortable && !self.confuses(&sizes) {
                return self.refilled(sizes, left_out, width);
            }
            if comfortable && first.is_none() {
                first = Some((sizes.clone(), left_out.clone()));
            }
            let Some(least) = least else {
                let (mut sizes, left_out) = first.unwrap_or((sizes, left_out));
                self.shrink(&mut sizes, width, |_| LEAST_TEXT);
                return Layout {
                    shown: sizes,
                    left_out,
                };
            };
            shown.retain(|at| *at != least);
            left_out.push(least);
            left_out.sort_unstable();
        }
    }

    /// Shows hidden columns again if they fit, the most important first: a column hidden later may have been wider.
    fn refilled(
        &self,
        mut sizes: Vec<(usize, usize)>,
        mut left_out: Vec<usize>,
        width: usize,
    ) -> Layout {
        let mut candidates = left_out.clone();
        candidates.sort_by_key(|at| std::cmp::Reverse(self.columns[*at].importance));
        for candidate in candidates {
            let mut shown: Vec<usize> = sizes.iter().map(|(at, _)| *at).collect();
            shown.push(candidate);
            shown.sort_unstable();
            let mut fuller = self.natural(&shown);
            let fits = self.shrink(&mut fuller, width, |column| column.comfort);
            if fits && !self.confuses(&fuller) {
                sizes = fuller;
                left_out.retain(|at| *at != candidate);
            }
        }
        Layout {
            shown: sizes,
            left_out,
        }
    }

    /// The columns with the full width of their texts.
    fn natural(&self, shown: &[usize]) -> Vec<(usize, usize)> {
        let width = |at: usize| {
            let texts = self.rows.iter().map(|row| row[at].text.width());
            texts
                .chain([self.columns[at].heading.width()])
                .max()
                .unwrap_or_default()
        };
        shown.iter().map(|at| (*at, width(*at))).collect()
    }

    /// Shrinks the widest columns until all fit, none below its bound; returns whether they do.
    fn shrink(
        &self,
        sizes: &mut [(usize, usize)],
        width: usize,
        bound: impl Fn(&Column) -> usize,
    ) -> bool {
        while total(sizes) > width {
            let widest = sizes
                .iter_mut()
                .filter(|(at, size)| {
                    let column = &self.columns[*at];
                    column.cut != Cut::Never && *size > bound(column).max(column.heading.width())
                })
                .max_by_key(|(_, size)| *size);
            match widest {
                Some((_, size)) => *size -= 1,
                None => return false,
            }
        }
        true
    }

    /// Whether two different names of a column would look the same.
    fn confuses(&self, sizes: &[(usize, usize)]) -> bool {
        sizes.iter().any(|(at, size)| {
            let names: HashSet<&str> = self.rows.iter().map(|row| &*row[*at].text).collect();
            let cut = names.iter().map(|name| self.shown(*at, name, *size));
            self.columns[*at].cut == Cut::Middle && cut.collect::<HashSet<_>>().len() < names.len()
        })
    }

    fn shown(&self, at: usize, text: &str, width: usize) -> String {
        match self.columns[at].cut {
            Cut::Never => text.to_owned(),
            Cut::End => cut_end(text, width),
            Cut::Middle => cut_middle(text, width),
        }
    }

    fn grid(&self, layout: &Layout, bold: bool) -> String {
        let headings = layout.shown.iter().map(|(at, size)| {
            let heading = self.columns[*at].heading;
            self.padded(*at, heading, *size)
        });
        let heading = join(headings);
        let rule = join(layout.shown.iter().map(|(_, size)| "─".repeat(*size)));
        let mut lines = vec![
            if bold {
                format!("\u{1b}[1m{heading}\u{1b}[0m")
            } else {
                heading
            },
            rule,
        ];
        lines.extend(self.rows.iter().map(|row| {
            join(layout.shown.iter().map(|(at, size)| {
                let text = self.shown(*at, &row[*at].text, *size);
                self.padded(*at, &text, *size)
            }))
        }));
        lines.join("\n")
    }

    fn padded(&self, at: usize, text: &str, width: usize) -> String {
        let space = " ".repeat(width.saturating_sub(text.width()));
        if self.columns[at].right {
            space + text
        } else {
            text.to_owned() + &space
        }
    }

    /// One line per cell, for screens too narrow for any table.
    fn records(&self, layout: &Layout) -> String {
        let widest = layout.shown.iter();
        let widest = widest
            .map(|(at, _)| self.columns[*at].heading.width())
            .max();
        let record = |row: &Vec<Cell>| {
            let mut text = String::new();
            for (at, _) in &layout.shown {
                let heading = self.columns[*at].heading;
                let space = " ".repeat(widest.unwrap_or_default() - heading.width() + GAP);
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{heading}{space}{}", row[*at].text);
            }
            text
        };
        let records: Vec<String> = self.rows.iter().map(record).collect();
        records.join("\n").trim_end().to_owned()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.at(Screen::of_stdout()))
    }
}

/// The output of a command: lines and tables, which are fitted to the screen when rendered.
#[derive(Debug, Clone, Default)]
pub struct Report(Vec<Part>);

#[derive(Debug, Clone)]
enum Part {
    Line(String),
    Table(Table),
}

impl Report {
    /// A report that begins with a line.
    pub fn of(line: impl Into<String>) -> Self {
        Self(vec![Part::Line(line.into())])
    }

    /// Adds a line.
    pub fn line(&mut self, line: impl Into<String>) {
        self.0.push(Part::Line(line.into()));
    }

    /// Adds a table, unless it has no rows.
    pub fn table(&mut self, table: Table) {
        if !table.is_empty() {
            self.0.push(Part::Table(table));
        }
    }

    /// Renders the report for a screen, without a final line feed.
    pub fn at(&self, screen: Screen) -> String {
        let part = |part: &Part| match part {
            Part::Line(line) => wrap(line, screen.width),
            Part::Table(table) => table.at(screen),
        };
        self.0.iter().map(part).collect::<Vec<_>>().join("\n")
    }
}

impl From<Table> for Report {
    fn from(table: Table) -> Self {
        Self(vec![Part::Table(table)])
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.at(Screen::of_stdout()))
    }
}

fn total(sizes: &[(usize, usize)]) -> usize {
    let gaps = GAP * sizes.len().saturating_sub(1);
    sizes.iter().map(|(_, size)| size).sum::<usize>() + gaps
}

fn join(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = cells.collect();
    cells.join(&" ".repeat(GAP)).trim_end().to_owned()
}

/// Wraps the text at spaces so that each line fits; a longer word stays whole.
pub fn wrap(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else {
        return text.to_owned();
    };
    let wrapped = |line: &str| {
        if line.width() <= width {
            return line.to_owned();
        }
        let (mut lines, mut current) = (Vec::new(), String::new());
        for word in line.split(' ') {
            if !current.is_empty() && current.width() + 1 + word.width() > width {
                lines.push(std::mem::take(&mut current));
            } else if !current.is_empty() {
                current.push(' ');
            }
            current.push_str(word);
        }
        lines.push(current);
        lines.join("\n")
    };
    text.split('\n').map(wrapped).collect::<Vec<_>>().join("\n")
}

/// `the beginning of it…`, at most `width` columns wide.
pub fn cut_end(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let kept = beginning(text, width.saturating_sub(1));
    format!("{}…", kept.trim_end())
}

/// `the begin…end`, at most `width` columns wide.
pub fn cut_middle(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let start = beginning(text, room.div_ceil(2));
    let (mut end, mut taken) = (text.len(), 0);
    for (at, letter) in text.char_indices().rev() {
        taken += letter_width(letter);
        if taken > room / 2 {
            break;
        }
        end = at;
    }
    // A combining mark belongs to the letter before it.
    let end = text[end..].trim_start_matches(|letter| letter_width(letter) == 0);
    format!("{start}…{end}")
}

/// The longest prefix that is not wider than `width`.
fn beginning(text: &str, width: usize) -> &str {
    let mut taken = 0;
    for (at, letter) in text.char_indices() {
        taken += letter_width(letter);
        if taken > width {
            return &text[..at];
        }
    }
    text
}

/// The width of a character; an emoji variation selector makes the character before it wider.
fn letter_width(letter: char) -> usize {
    match letter {
        '\u{fe0f}' => 1,
        letter => letter.width().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCREEN: Screen = Screen {
        width: Some(40),
        bold: false,
    };

    #[test]
    fn texts_are_cut_by_their_width_on_the_screen() {
        for (text, width, end, middle) in [
            ("short", 5, "short", "short"),
            ("a longer name", 9, "a longer…", "a lo…name"),
            ("東京東京東京", 7, "東京東…", "東…京"),
            (
                "e\u{301}e\u{301}e\u{301}e\u{301}",
                3,
                "e\u{301}e\u{301}…",
                "e\u{301}…e\u{301}",
            ),
            ("abc", 1, "…", "…"),
        ] {
            assert_eq!(cut_end(text, width), end, "{text}");
            let cut = cut_middle(text, width);
            assert_eq!(cut, middle, "{text}");
            assert!(cut.width() <= width.max(1), "{cut}");
        }
    }

    #[test]
    fn a_width_that_cannot_be_is_not_believed() {
        for (said, expect) in [
            (None, 80),
            (Some(0), 80),
            (Some(1), 80),
            (Some(19), 80),
            (Some(20), 20),
            (Some(200), 200),
        ] {
            assert_eq!(usable(said), expect, "{said:?}");
        }
    }

    #[test]
    fn prose_is_broken_at_spaces() {
        let text = "0123456789 0123456789 0123456789 0123456789 and an_address_that_is_longer_than_the_line_is";
        let wrapped = wrap(text, Some(40));
        assert_eq!(wrapped.replace('\n', " "), text);
        assert!(
            wrapped
                .lines()
                .all(|line| line.width() <= 40 || !line.contains(' '))
        );
        assert_eq!(wrap(text, None), text);
    }

    #[test]
    fn columns_go_by_importance_and_what_is_empty_goes_first() {
        let mut table = Table::new([
            Column::name("name", 10),
            Column::right("number"),
            Column::new("empty"),
            Column::right("none"),
            Column::new("id").optional(1),
            Column::new("more").optional(2),
        ]);
        let id = "01a229bc-8f6e-7000-8000-0123456789ab";
        table.add_row([
            "some name".into(),
            "1".into(),
            "".into(),
            Cell::idle("0/9"),
            id.into(),
            "more".into(),
        ]);
        table.add_row([
            "another".into(),
            "1,000".into(),
            "-".into(),
            Cell::idle("0/9"),
            id.into(),
            "more".into(),
        ]);
        insta::assert_snapshot!(table.at(SCREEN), @r"
        name       number  more
        ─────────  ──────  ────
        some name       1  more
        another     1,000  more
        Not shown: id (--wide shows all).
        ");
        let wide = table.at(Screen {
            width: None,
            ..SCREEN
        });
        assert!(wide.contains(id) && !wide.contains("empty"), "{wide}");
    }

    #[test]
    fn what_cannot_fit_becomes_a_record() {
        let mut table = Table::new([Column::new("id"), Column::new("state")]);
        let id = "01a229bc-8f6e-7000-8000-0123456789ab";
        table.add_row([id.into(), "completed".into()]);
        insta::assert_snapshot!(table.at(SCREEN), @r"
        id     01a229bc-8f6e-7000-8000-0123456789ab
        state  completed
        ");
    }

    #[test]
    fn names_that_differ_look_different() {
        let mut table = Table::new([Column::name("name", 8), Column::new("comment").optional(1)]);
        for name in [
            "an-endless-name-of-a-b-thing-here",
            "an-endless-name-of-a-c-thing-here",
        ] {
            table.add_row([name.into(), "something".into()]);
        }
        let text = table.at(SCREEN);
        assert!(
            text.contains("a-b-thing") && text.contains("a-c-thing"),
            "{text}"
        );
    }
}
