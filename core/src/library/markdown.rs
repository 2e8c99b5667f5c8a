//! Converts Markdown to HTML that is safe to embed in a page.
//!
//! Nothing of the source becomes a tag: raw HTML is shown as text, links lead to the web or to a mailbox, and images
//! become links, so that reading a description never contacts a third-party host. A few characters of a table or a list
//! can become thousands of bytes, so the size of the HTML is limited.

use std::fmt;

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};
use url::Url;

/// Maximum number of bytes of HTML per byte of Markdown. A list of one-letter words makes 9, a table of such cells 12.
const MOST_PER_BYTE: usize = 16;

/// Renders Markdown, which takes milliseconds: do not call it while holding a connection. Text that would exceed 16
/// bytes of HTML per byte is shown as plain text.
#[must_use]
pub fn to_html(markdown: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let events = Parser::new_ext(markdown, options).map(inert);
    let mut out = Bounded {
        html: String::with_capacity(markdown.len() * 3 / 2),
        most: (markdown.len() + 64) * MOST_PER_BYTE,
    };
    if html::write_html_fmt(&mut out, events).is_ok() {
        return out.html;
    }
    let mut out = String::with_capacity(markdown.len() * 3 / 2);
    let text = [
        Event::Start(Tag::Paragraph),
        Event::Text(markdown.into()),
        Event::End(TagEnd::Paragraph),
    ];
    html::push_html(&mut out, text.into_iter());
    out
}

/// A writer of HTML that fails when the text becomes too long.
struct Bounded {
    html: String,
    most: usize,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.html.len() + part.len() > self.most {
            return Err(fmt::Error);
        }
        self.html.push_str(part);
        Ok(())
    }
}

fn inert(event: Event<'_>) -> Event<'_> {
    match event {
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        Event::Start(Tag::HtmlBlock) => Event::Start(Tag::Paragraph),
        Event::End(TagEnd::HtmlBlock) => Event::End(TagEnd::Paragraph),
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
            Event::InlineHtml(CowStr::from(opening(&dest_url)))
        }
        Event::End(TagEnd::Link | TagEnd::Image) => Event::InlineHtml("</a>".into()),
        other => other,
    }
}

/// The opening tag of a link; without a target if the URL is not plain.
fn opening(address: &str) -> String {
    let url = Url::parse(address).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https" | "mailto"));
    match url {
        // A parsed URL has no spaces, quotes or angle brackets except these.
        Some(url) => {
            let address = url.as_str().replace('&', "&amp;");
            let address = address.replace('\'', "&#39;").replace('"', "&quot;");
            let address = address.replace('<', "&lt;").replace('>', "&gt;");
            format!("<a href=\"{address}\" rel=\"nofollow noopener noreferrer\">")
        }
        None => "<a>".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_html() {
        for (markdown, html) in [
            ("*a* & `b`", "<p><em>a</em> &amp; <code>b</code></p>\n"),
            (
                "[x](https://example.org/?a=1&b='2')",
                "<p><a href=\"https://example.org/?a=1&amp;b=%272%27\" rel=\"nofollow noopener noreferrer\">x</a></p>\n",
            ),
            (
                "![alt](https://example.org/x.png)",
                "<p><a href=\"https://example.org/x.png\" rel=\"nofollow noopener noreferrer\">alt</a></p>\n",
            ),
        ] {
            assert_eq!(to_html(markdown), html);
        }
    }

    #[test]
    fn html_is_bounded_whatever_the_markdown() {
        let wide = format!(
            "{}|\n{}|\n{}",
            "|a".repeat(2_000),
            "|-".repeat(2_000),
            "a\n".repeat(900)
        );
        for (markdown, shows_all) in [
            (wide, false),
            ("> ".repeat(5_000), true),
            ("- ".repeat(5_000), true),
            ("- a\n".repeat(2_500), true),
            ("*a*".repeat(3_000), true),
            ("<a>".repeat(3_000), true),
            (format!("|a|b|\n|-|-|\n{}", "|a|b|\n".repeat(1_500)), true),
        ] {
            let html = to_html(&markdown);
            assert!(
                html.len() <= (markdown.len() + 64) * MOST_PER_BYTE,
                "{}",
                html.len()
            );
            let start: String = markdown.chars().take(20).collect();
            assert_eq!(!html.starts_with("<p>|a|a|a"), shows_all, "{start}");
        }
    }

    /// Everything in angle brackets must be a tag that the writer itself creates.
    #[test]
    fn attacks_come_out_as_text() {
        let attacks = [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "a <svg/onload=alert(1)> b",
            "<div\nonclick=alert(1)>\n\nx</div>",
            "[x](javascript:alert(1))",
            "[x](JaVa\tScRiPt:alert(1))",
            "[x](java&#x0A;script:alert(1))",
            "[x](data:text/html;base64,PHNjcmlwdD4=)",
            "[x](vbscript:msgbox(1))",
            "[x](//example.org)",
            "<javascript:alert(1)>",
            "![x](javascript:alert(1))",
            "![\" onload=alert(1) \"](https://e.org/\"onload=alert(1))",
            "[x](https://e.org/ \"title\\\" onmouseover=alert(1) x=\\\"\")",
            "```\"><script>alert(1)</script>\nx\n```",
            "```a\"onclick=alert(1)\nx\n```",
            "| <b onclick=alert(1)> |\n|---|\n| <iframe src=//e> |",
            "<!-- --><script>alert(1)</script>",
            "<![CDATA[<script>alert(1)</script>]]>",
            "&lt;script&gt;alert(1)&lt;/script&gt;",
            "[a]: javascript:alert(1)\n\n[a]",
        ];
        for attack in attacks {
            let html = to_html(attack);
            for tag in html.split('<').skip(1) {
                let tag = tag.split('>').next().unwrap();
                let name = tag.trim_start_matches('/').split(' ').next().unwrap();
                let known = [
                    "p", "a", "pre", "code", "table", "thead", "tbody", "tr", "th", "td",
                ];
                assert!(known.contains(&name), "{attack:?} became {html}");
                if name == "a" && tag.starts_with("a ") {
                    let address = tag.split('"').nth(1).unwrap();
                    assert!(address.starts_with("https://"), "{attack:?} became {html}");
                    assert_eq!(tag.split('"').count(), 5, "{attack:?} became {html}");
                } else if name == "code" {
                    assert!(tag.split('"').count() <= 3, "{attack:?} became {html}");
                } else {
                    assert!(!tag.contains('='), "{attack:?} became {html}");
                }
            }
        }
    }
}
