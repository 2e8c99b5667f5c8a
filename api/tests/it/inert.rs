//! What people write is shown as text: in JSON it stays JSON, in HTML no tag and no address of theirs comes alive.

use serde_json::{Value, json};

use crate::server::{Reply, Server, field};

const ATTACKS: [&str; 6] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "[x](javascript:alert(1)) ![y](https://example.org/leak.png?a=b)",
    "</textarea><svg/onload=alert(1)>",
    "{{constructor.constructor('alert(1)')()}}",
    "\u{202E}<iframe srcdoc='<script>alert(1)</script>'>",
];

/// An answer that no browser takes for a page.
#[track_caller]
fn is_data(reply: &Reply) -> Value {
    assert!(reply.status < 300, "{}", reply.text);
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    reply.json()
}

/// Every tag is one that the writer of Markdown makes, every address one of the web.
#[track_caller]
fn is_inert(html: &str) {
    for tag in html.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap();
        let name = tag.trim_start_matches('/').split(' ').next().unwrap();
        assert!(["p", "a", "br", "/p", "em"].contains(&name), "{html}");
        assert!(name == "a" || !tag.contains('='), "{html}");
        if let Some(address) = tag.split("href=\"").nth(1) {
            assert!(address.starts_with("https://"), "{html}");
        }
    }
}

#[tokio::test]
async fn stored_attacks_stay_text_in_every_field() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    for (at, attack) in ATTACKS.iter().enumerate() {
        let slug = format!("attack-{at}");
        let literal = format!("{{% raw %}}{attack}{{% endraw %}} needle");
        // What stands in one line turns nothing around; everything else may stand there.
        let line = attack.trim_start_matches('\u{202E}');
        let new = json!({
            "slug": slug, "title": line, "description": attack, "attribution": line,
            "body": {"kind": "text", "text": literal},
            "variables": [{"name": "x", "description": attack, "default": attack}],
        });
        if line != *attack {
            for name in ["title", "attribution"] {
                let mut odd = new.clone();
                odd[name] = json!(attack);
                server
                    .post("/api/v1/prompts", &ada, &odd)
                    .await
                    .expect_problem(422, "invalid", Some(name));
            }
        }
        let made = is_data(&server.post("/api/v1/prompts", &ada, &new).await);
        for (name, written) in [
            ("title", line),
            ("description", *attack),
            ("attribution", line),
        ] {
            assert_eq!(made[name], written, "stored as written");
        }
        is_inert(&field(&made, "description_html"));
        let path = format!("/api/v1/prompts/{slug}");
        let note =
            json!({"body": {"kind": "text", "text": format!("{literal} again")}, "note": attack});
        is_data(&server.post(&format!("{path}/versions"), &ada, &note).await);
        let shown = is_data(&server.post(&format!("{path}/render"), "", &json!({})).await);
        assert!(field(&shown["messages"][0], "content").starts_with(attack));
        let change = json!({"title": line, "version": {"note": attack, "body": {"kind": "text", "text": format!("{literal} better")}}});
        let request = is_data(
            &server
                .post(&format!("{path}/change-requests"), &bob, &change)
                .await,
        );
        let request = format!("/api/v1/change-requests/{}", field(&request, "id"));
        let comment = json!({"text": attack});
        let comment = is_data(
            &server
                .post(&format!("{request}/comments"), &bob, &comment)
                .await,
        );
        is_inert(&field(&comment, "html"));
        let decision = json!({"reason": attack});
        is_data(
            &server
                .post(&format!("{request}/decline"), &ada, &decision)
                .await,
        );
        let search = json!({"name": line, "query": {"q": attack}});
        is_data(&server.post("/api/v1/saved-searches", &ada, &search).await);
        for path in [
            path.clone(),
            format!("{path}/versions"),
            format!("{path}/diff?from=1"),
            format!("{path}/change-requests"),
            request.clone(),
            format!("{request}/comments"),
            "/api/v1/prompts".to_owned(),
            "/api/v1/prompts?q=needle".to_owned(),
            "/api/v1/prompts/suggest?q=alert".to_owned(),
        ] {
            is_data(&server.get(&path, "").await);
        }
    }
    is_data(&server.get("/api/v1/prompts/export", &ada).await);
    let fields: [(&str, Value); 5] = [
        ("slug", json!(ATTACKS[0])),
        ("category", json!(ATTACKS[0])),
        ("tags", json!([ATTACKS[0]])),
        ("language", json!(ATTACKS[0])),
        ("licence", json!(ATTACKS[0])),
    ];
    for (name, value) in fields {
        let mut new = json!({"title": "x", "body": {"kind": "text", "text": "x"}});
        new[name] = value;
        let path = if name == "tags" { "tags[0]" } else { name };
        server
            .post("/api/v1/prompts", &ada, &new)
            .await
            .expect_problem(422, "invalid", Some(path));
    }
    // A refusal that quotes what was sent is data, too.
    let page = server
        .get("/api/v1/prompts/%3Cscript%3Ealert(1)%3C%2Fscript%3E", "")
        .await;
    page.expect_problem(404, "not_found", None);
    assert_eq!(page.header("x-content-type-options"), "nosniff");
}
