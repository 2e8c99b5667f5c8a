//! Checks a template's tokens before the parser sees them.
//!
//! minijinja's parser recurses without a limit once per `not`, `-`, `elif`, `(` of a loop target and `if … else`, so 64
//! KiB of them overflow the stack, which no caller can catch.
//! Limits on the tokens of a tag, and on the nesting of brackets and blocks, bound every recursion of the parser, of
//! the lowering and of the evaluation.

use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;

use crate::budget::Fault;
use crate::{MAX_TEMPLATE_BYTES, TemplateErrorKind};

const MAX_TAG_TOKENS: usize = 256;
const MAX_BRACKETS: usize = 16;
const MAX_BLOCKS: usize = 16;
const MAX_ELIFS: usize = 64;

/// Jinja's delimiters; a final newline is kept, so that the prompt is sent as written.
pub(super) fn syntax() -> Result<SyntaxConfig, Fault> {
    SyntaxConfig::builder()
        .keep_trailing_newline(true)
        .build()
        .map_err(|error| Fault::syntax(&error))
}

/// Rejects templates that must not reach the parser.
pub(super) fn check(source: &str) -> Result<(), Fault> {
    if source.len() > MAX_TEMPLATE_BYTES {
        return Err(Fault::limit(format!(
            "the template is larger than {MAX_TEMPLATE_BYTES} bytes; move long texts into the items' variables"
        )));
    }
    let mut tag_tokens = 0;
    let mut brackets = 0_usize;
    let mut elifs = vec![0]; // one counter for each open block
    let mut starts_statement = false;
    for token in tokenize(source, false, syntax()?) {
        let (token, span) = token.map_err(|error| Fault::syntax(&error))?;
        let refuse = |fault: Fault| Err(fault.on_line(span.start_line));
        tag_tokens += 1;
        match &token {
            Token::TemplateData(_) | Token::VariableStart | Token::BlockStart => {
                (tag_tokens, brackets) = (0, 0);
            }
            Token::BracketOpen | Token::ParenOpen | Token::BraceOpen => brackets += 1,
            Token::BracketClose | Token::ParenClose | Token::BraceClose => {
                brackets = brackets.saturating_sub(1);
            }
            Token::Ident(word) if starts_statement => match *word {
                "if" | "for" | "with" => elifs.push(0),
                "endif" | "endfor" | "endwith" if elifs.len() > 1 => drop(elifs.pop()),
                "elif" => *elifs.last_mut().unwrap_or(&mut 0) += 1,
                "else" | "endif" | "endfor" | "endwith" => {}
                word => return refuse(refused_statement(word)),
            },
            _ => {}
        }
        starts_statement = matches!(token, Token::BlockStart);
        if tag_tokens > MAX_TAG_TOKENS {
            return refuse(Fault::limit(format!(
                "one tag has more than {MAX_TAG_TOKENS} parts; write it as several tags"
            )));
        }
        if brackets > MAX_BRACKETS || elifs.len() > MAX_BLOCKS + 1 {
            return refuse(Fault::limit(format!(
                "brackets and blocks nest at most {MAX_BRACKETS} deep; write it flatter"
            )));
        }
        if elifs.iter().sum::<usize>() > MAX_ELIFS {
            return refuse(Fault::limit(format!(
                "more than {MAX_ELIFS} `elif` are open at once; look the value up in a map instead"
            )));
        }
    }
    Ok(())
}

fn refused_statement(word: &str) -> Fault {
    let instead = match word {
        "set" => "; write `{% with name = value %}…{% endwith %}` instead",
        "filter" => "; write `{{ value | filter }}` instead",
        _ => "",
    };
    Fault::new(
        TemplateErrorKind::Refused,
        format!(
            "the statement `{word}` is not available in prompts; use `if`, `for`, `with` or `raw`{instead}"
        ),
    )
}
