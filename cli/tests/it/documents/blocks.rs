//! What a document in Markdown holds: fenced blocks, links and headings.

use std::collections::BTreeSet;

/// A fenced block.
pub struct Block {
    /// The document's path.
    pub document: String,
    /// The line of its fence.
    pub line: usize,
    /// The first word behind the fence.
    pub language: String,
    /// The rest of that line: a file, or what reads it.
    pub word: String,
    pub text: String,
    /// Why it cannot run here.
    pub not_run: Option<String>,
}

impl Block {
    pub fn place(&self) -> String {
        format!("{}:{}", self.document, self.line)
    }
}

/// Every fenced block of a document, in order.
pub fn blocks(document: &str, text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    let mut above = "";
    for (index, line) in text.lines().enumerate() {
        match (open.as_mut(), line.strip_prefix("```")) {
            (None, Some(info)) => {
                let (language, word) = info.trim().split_once(' ').unwrap_or((info.trim(), ""));
                let reason = above.strip_prefix("<!-- not run: ");
                let reason = reason.and_then(|rest| rest.strip_suffix(" -->"));
                open = Some(Block {
                    document: document.to_owned(),
                    line: index + 1,
                    language: language.to_owned(),
                    word: word.trim().to_owned(),
                    text: String::new(),
                    not_run: reason.map(str::to_owned),
                });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
        if !line.trim().is_empty() {
            above = line.trim();
        }
    }
    assert!(open.is_none(), "{document}: a block does not end");
    found
}

/// The targets of the links to other files and headings, those in code aside.
pub fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        let words: String = line.split('`').step_by(2).collect();
        for piece in words.split("](").skip(1) {
            let target = piece.split(')').next().unwrap_or_default();
            if !target.contains("://") && !target.starts_with("mailto:") {
                found.push(target.to_owned());
            }
        }
    }
    found
}

/// The calls of `opb` in sentences.
pub fn commands(text: &str) -> Vec<String> {
    let spans = prose(text).flat_map(|line| line.split('`').skip(1).step_by(2));
    let calls = spans.filter(|span| span.starts_with("opb ") && !span.contains(" -- "));
    calls.map(str::to_owned).collect()
}

/// The names that headings have in addresses.
pub fn anchors(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in prose(text) {
        let Some(heading) = line.strip_prefix('#') else {
            continue;
        };
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let plain = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let name: String = heading.chars().filter(plain).collect();
        let name = name.replace(' ', "-");
        let again = (1..).map(|number| format!("{name}-{number}"));
        let free = std::iter::once(name.clone()).chain(again);
        names.extend(free.into_iter().find(|name| !names.contains(name)));
    }
    names
}

/// The lines outside of blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().filter(move |line| {
        let fence = line.starts_with("```");
        inside ^= fence;
        !inside && !fence
    })
}
