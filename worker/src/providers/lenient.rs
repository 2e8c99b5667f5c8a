//! Types to parse unneeded parts of providers' responses: a value of another shape is treated as missing, since it must
//! not cost a response that was paid for.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{
        IgnoredAny, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};
use serde_json::Value;

/// A count: a whole number, also in the form `100.0` or `"100"`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Count(pub(super) Option<i64>);

/// A string.
#[derive(Debug, Default)]
pub(super) struct Text<'a>(pub(super) Option<Cow<'a, str>>);

/// A string, or JSON as a string.
#[derive(Debug, Default)]
pub(super) struct JsonText(pub(super) Option<String>);

/// An object of a known shape.
#[derive(Debug)]
pub(super) struct Maybe<T>(pub(super) Option<T>);

/// Objects of a known shape; others in the list are skipped.
#[derive(Debug)]
pub(super) struct Many<T>(pub(super) Vec<T>);

/// The text of a message: a string, or the texts in a list of parts. Reasoning is not included.
#[derive(Debug, Default)]
pub(super) struct Content<'a>(pub(super) Option<Cow<'a, str>>);

#[derive(Deserialize)]
struct ContentPart<'a> {
    #[serde(rename = "type", default, borrow)]
    kind: Text<'a>,
    #[serde(default, borrow)]
    text: Text<'a>,
}

impl Text<'_> {
    /// The string, unless it is empty or `null`.
    pub(super) fn word(&self) -> Option<&str> {
        let word = self.0.as_deref()?.trim();
        (!word.is_empty() && word != "null").then_some(word)
    }
}

impl<T> Default for Maybe<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Default for Many<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "whole numbers of this size have no fraction, and are integers"
)]
fn whole(count: f64) -> Option<i64> {
    let is_whole = count.fract() == 0.0 && count.abs() < 9e15;
    is_whole.then_some(count as i64)
}

/// Generates visitor methods that return the default for the listed kinds of values.
macro_rules! nothing {
    ($($kind:ident)*) => { $(nothing!(@ $kind);)* };
    (@ scalar) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("anything")
        }
    };
    (@ number) => {
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
    };
    (@ text) => {
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
    };
    (@ list) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
    };
    (@ object) => {
        fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
            while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
    };
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Count;

            nothing!(scalar list object);

            fn visit_i64<E>(self, count: i64) -> Result<Count, E> {
                Ok(Count(Some(count)))
            }

            fn visit_u64<E>(self, count: u64) -> Result<Count, E> {
                Ok(Count(i64::try_from(count).ok()))
            }

            fn visit_f64<E>(self, count: f64) -> Result<Count, E> {
                Ok(Count(whole(count)))
            }

            fn visit_str<E>(self, count: &str) -> Result<Count, E> {
                Ok(Count(count.trim().parse().ok().and_then(whole)))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for Reader<'a> {
            type Value = Text<'a>;

            nothing!(scalar number list object);

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'a>, E> {
                Ok(Text(Some(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'a>, E> {
                Ok(Text(Some(Cow::Owned(text.to_owned()))))
            }
        }

        deserializer.deserialize_any(Reader(PhantomData))
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = JsonText;

            nothing!(scalar number);

            fn visit_str<E>(self, text: &str) -> Result<JsonText, E> {
                Ok(JsonText(Some(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<JsonText, A::Error> {
                let list = Value::deserialize(SeqAccessDeserializer::new(list))?;
                Ok(JsonText(Some(list.to_string())))
            }

            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<JsonText, A::Error> {
                let object = Value::deserialize(MapAccessDeserializer::new(object))?;
                Ok(JsonText(Some(object.to_string())))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Maybe<T>;

            nothing!(scalar number text list);

            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Maybe<T>, A::Error> {
                let object = T::deserialize(MapAccessDeserializer::new(object))?;
                Ok(Maybe(Some(object)))
            }
        }

        deserializer.deserialize_any(Reader(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Many<T>;

            nothing!(scalar number text object);

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Many<T>, A::Error> {
                let mut found = Vec::new();
                while let Some(Maybe(item)) = list.next_element()? {
                    found.extend(item);
                }
                Ok(Many(found))
            }
        }

        deserializer.deserialize_any(Reader(PhantomData))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<'a>(PhantomData<&'a ()>);

        /// A part of a list: an object, or a string.
        struct Part(String);

        impl<'de> Deserialize<'de> for Part {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Reader;

                impl<'de> Visitor<'de> for Reader {
                    type Value = String;

                    nothing!(scalar number list);

                    fn visit_str<E>(self, text: &str) -> Result<String, E> {
                        Ok(text.to_owned())
                    }

                    fn visit_map<A: MapAccess<'de>>(self, part: A) -> Result<String, A::Error> {
                        let part = ContentPart::deserialize(MapAccessDeserializer::new(part))?;
                        let is_text =
                            matches!(part.kind.word(), None | Some("text" | "output_text"));
                        let text = part.text.0.filter(|_| is_text);
                        Ok(text.unwrap_or_default().into_owned())
                    }
                }

                deserializer.deserialize_any(Reader).map(Part)
            }
        }

        impl<'de: 'a, 'a> Visitor<'de> for Reader<'a> {
            type Value = Content<'a>;

            nothing!(scalar number object);

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Content<'a>, E> {
                Ok(Content(Some(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Content<'a>, E> {
                Ok(Content(Some(Cow::Owned(text.to_owned()))))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content<'a>, A::Error> {
                let mut text = String::new();
                while let Some(Part(part)) = list.next_element()? {
                    text.push_str(&part);
                }
                Ok(Content(Some(Cow::Owned(text))))
            }
        }

        deserializer.deserialize_any(Reader(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct All<'a> {
        #[serde(default)]
        count: Count,
        #[serde(default, borrow)]
        text: Text<'a>,
        #[serde(default)]
        json: JsonText,
        #[serde(default, borrow)]
        content: Content<'a>,
        #[serde(default)]
        many: Many<Inner>,
        #[serde(default)]
        maybe: Maybe<Inner>,
    }

    #[derive(Deserialize)]
    struct Inner {
        #[serde(default)]
        count: Count,
    }

    const SHAPES: [&str; 9] = [
        "null",
        "true",
        "7",
        "-7.5",
        "1e300",
        r#""a\nb""#,
        "[]",
        r#"[1, "x", {"count": 3}, [null]]"#,
        r#"{"count": 3}"#,
    ];

    #[test]
    fn no_shape_is_an_error_anywhere() {
        for field in ["count", "text", "json", "content", "many", "maybe"] {
            for shape in SHAPES {
                let body = format!(r#"{{"{field}": {shape}, "other": 1}}"#);
                assert!(serde_json::from_str::<All<'_>>(&body).is_ok(), "{body}");
            }
        }
    }

    #[test]
    fn each_reads_what_it_is_for() {
        let body = r#"{"count": "100", "text": "a\nb", "json": {"a": [1]}, "many": [{"count": 1.0}, 7, {"count": 2}],
            "content": [{"type": "thinking", "thinking": ["no"]}, {"type": "text", "text": "4"}, "2", {"text": "!"}], "maybe": {"count": 5}}"#;
        let all: All<'_> = serde_json::from_str(body).unwrap();
        assert_eq!(all.count.0, Some(100));
        assert_eq!(all.text.word(), Some("a\nb"));
        assert_eq!(all.json.0.as_deref(), Some(r#"{"a":[1]}"#));
        assert_eq!(all.content.0.as_deref(), Some("42!"));
        let many: Vec<_> = all.many.0.iter().map(|inner| inner.count.0).collect();
        assert_eq!(many, [Some(1), Some(2)]);
        assert_eq!(all.maybe.0.and_then(|inner| inner.count.0), Some(5));
        for nothing in ["", " ", "null"] {
            assert_eq!(Text(Some(nothing.into())).word(), None);
        }
    }
}
