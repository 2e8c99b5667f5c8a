//! Markdown as HTML that is safe to put into a page as it is.
//!
//! Nothing of the source becomes a tag: raw HTML is shown as the text it is, links lead to the web or to a mailbox,
//! and pictures are links, so that reading a description never calls a foreign host.

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};
use url::Url;

/// Renders Markdown.
#[must_use]
pub fn to_html(markdown: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let events = Parser::new_ext(markdown, options).map(inert);
    let mut out = String::with_capacity(markdown.len() * 3 / 2);
    html::push_html(&mut out, events);
    out
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

/// The tag that opens a link; one that leads nowhere when the address is not a plain one.
fn opening(address: &str) -> String {
    let url = Url::parse(address).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https" | "mailto"));
    match url {
        // The parsed address has no spaces, quotes or angle brackets left but these.
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

    /// Everything in angle brackets must be one of the tags that the writer itself makes.
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
