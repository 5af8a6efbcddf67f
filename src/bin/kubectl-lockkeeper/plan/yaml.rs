//! YAML as kubectl and helm read it: by the rules of YAML 1.1, as the Go library sigs.k8s.io/yaml
//! does. `0400` is 256, `on` is true, and the key `on` is `"true"`. The libraries for Rust read
//! numbers and booleans by YAML 1.2, so only the syntax is left to one.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, StrInput, Tag};
use serde_json::{Map, Number, Value};

/// Nesting deeper than this is refused: no manifest needs it.
const DEPTH: usize = 200;
/// Aliases may expand a text to this many values: far more than fits into an object of Kubernetes.
const VALUES: usize = 1_000_000;
/// Where the names of YAML's own types begin.
const TYPES: &str = "tag:yaml.org,2002:";
/// Whole numbers up to here are written without an exponent.
const WITHOUT_EXPONENT: f64 = 1e21;

/// The documents of a text.
pub fn documents(text: &str) -> Result<Vec<Value>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader =
        Reader { events: Parser::new_from_str(text), anchors: HashMap::new(), values: 0 };
    let mut documents = Vec::new();
    while let Some(event) = reader.next()? {
        match event {
            Event::DocumentStart(..) => reader.anchors.clear(),
            Event::StreamStart | Event::DocumentEnd | Event::StreamEnd => {}
            event => documents.push(reader.value(event, 0)?),
        }
    }
    Ok(documents)
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Value>,
    values: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<Event<'a>>, String> {
        loop {
            match self.events.next_event().transpose().map_err(|error| error.to_string())? {
                Some((Event::Comment(..), _)) => {}
                other => return Ok(other.map(|(event, _)| event)),
            }
        }
    }

    fn within(&mut self) -> Result<Event<'a>, String> {
        self.next()?.ok_or_else(|| "it ends in the middle of a document".to_owned())
    }

    /// The value that begins with an event.
    fn value(&mut self, event: Event<'a>, depth: usize) -> Result<Value, String> {
        self.count(1)?;
        if depth > DEPTH {
            return Err(format!("it is nested more than {DEPTH} levels deep"));
        }
        let (anchor, value) = match event {
            Event::Alias(anchor) => {
                let value = self
                    .anchors
                    .get(&anchor)
                    .cloned()
                    .ok_or("an alias refers to a value that contains it")?;
                self.count(size(&value))?;
                (0, value)
            }
            Event::Scalar(text, style, anchor, tag) => {
                (anchor, scalar(&text, style, tag.as_deref())?)
            }
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.within()? {
                        Event::SequenceEnd => break (anchor, items.into()),
                        event => items.push(self.value(event, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(_, anchor, _) => {
                let mut fields = Map::new();
                loop {
                    match self.within()? {
                        Event::MappingEnd => break (anchor, fields.into()),
                        key => self.field(key, &mut fields, depth + 1)?,
                    }
                }
            }
            _ => return Err("it has no value where one belongs".to_owned()),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    /// A key and its value. Of those that are the same, the last counts, whether they were written
    /// or merged.
    fn field(
        &mut self,
        key: Event<'a>,
        fields: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), String> {
        let merges =
            matches!(&key, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
        let key = self.value(key, depth)?;
        let next = self.within()?;
        let value = self.value(next, depth)?;
        if !merges {
            fields.insert(key_of(&key)?, value);
            return Ok(());
        }
        let sources = match value {
            // The first of several wins.
            Value::Array(mut all) => {
                all.reverse();
                all
            }
            one => vec![one],
        };
        for source in sources {
            let Value::Object(merged) = source else {
                return Err("<< merges a mapping, or a list of them".to_owned());
            };
            fields.extend(merged);
        }
        Ok(())
    }

    fn count(&mut self, more: usize) -> Result<(), String> {
        self.values += more;
        if self.values > VALUES {
            Err(format!("its aliases expand to more than {VALUES} values"))
        } else {
            Ok(())
        }
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(fields) => 1 + fields.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

/// JSON has keys of text alone.
fn key_of(key: &Value) -> Result<String, String> {
    match key {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(word) => Ok(word.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null => Err("null cannot be a key".to_owned()),
        Value::Array(_) | Value::Object(_) => Err("a list or a mapping cannot be a key".to_owned()),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    let of_type = tag.map(|tag| tag.suffix_in_namespace(TYPES));
    match of_type.as_ref().map(|name| name.as_deref()) {
        None if style == ScalarStyle::Plain => resolve(text),
        Some(Some("int" | "float" | "bool" | "null")) => resolve(text),
        Some(Some("binary")) => {
            let bytes =
                base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).ok();
            let decoded = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            decoded
                .map(Value::from)
                .ok_or_else(|| "a value of type !!binary is not base64 of text".to_owned())
        }
        _ => Ok(text.into()),
    }
}

/// What a word without quotes means.
fn resolve(text: &str) -> Result<Value, String> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => {
            true.into()
        }
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
            false.into()
        }
        ".nan" | ".NaN" | ".NAN" => return Err("JSON has no .nan".to_owned()),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF" => {
            return Err("JSON has no .inf".to_owned());
        }
        _ if text.starts_with(|first: char| {
            first.is_ascii_digit() || matches!(first, '+' | '-' | '.')
        }) =>
        {
            let plain = if text.starts_with('.') { text.to_owned() } else { text.replace('_', "") };
            integer(&plain).or_else(|| float(&plain)).map_or_else(|| text.into(), Value::Number)
        }
        _ => text.into(),
    })
}

fn integer(text: &str) -> Option<Number> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => ("-", &text[1..]),
        b'+' => ("", &text[1..]),
        _ => ("", text),
    };
    let prefix = digits.get(..2).unwrap_or_default().to_ascii_lowercase();
    let (radix, digits) = match (&*prefix, digits) {
        ("0x", _) => (16, &digits[2..]),
        ("0o", _) => (8, &digits[2..]),
        ("0b", _) => (2, &digits[2..]),
        (_, "0") => (10, digits),
        _ => digits.strip_prefix('0').map_or((10, digits), |octal| (8, octal)),
    };
    let starts_with_digit = digits.starts_with(|first: char| first.is_ascii_alphanumeric());
    let signed = starts_with_digit
        .then(|| i64::from_str_radix(&format!("{sign}{digits}"), radix).ok())
        .flatten();
    let unsigned = || {
        u64::from_str_radix(digits, radix)
            .ok()
            .filter(|_| starts_with_digit && !text.starts_with(['+', '-']))
            .map(Number::from)
    };
    signed.map(Number::from).or_else(unsigned)
}

/// A decimal fraction. One that is whole has no point in JSON as Go writes it, and can be read as
/// an integer.
fn float(text: &str) -> Option<Number> {
    // Neither infinity nor NaN by name, which Rust reads too.
    let named =
        text.contains(|letter: char| letter.is_ascii_alphabetic() && !matches!(letter, 'e' | 'E'));
    let value = text.parse::<f64>().ok().filter(|value| !named && value.is_finite())?;
    let whole = value.fract() == 0.0 && value.abs() < WITHOUT_EXPONENT;
    let integer = whole.then(|| format!("{value:.0}").parse::<i64>().ok()).flatten();
    integer.map(Number::from).or_else(|| Number::from_f64(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What the real kubectl makes of each is in the same table, and a test on a cluster compares
    /// them.
    #[test]
    fn scalars_are_read_as_kubectl_reads_them() {
        let cases: Vec<Value> =
            serde_json::from_str(include_str!("../../../../tests/model/cases/yaml.json")).unwrap();
        let mut wrong = Vec::new();
        for case in cases {
            let yaml = case["yaml"].as_str().unwrap();
            let value = documents(&format!("a: {yaml}\n")).ok().map(|all| all[0]["a"].clone());
            if value.as_ref() != case.get("value") {
                wrong.push(format!("value {yaml}: {value:?} for {:?}", case.get("value")));
            }
            let key = documents(&format!("{yaml}: a\n"))
                .ok()
                .and_then(|all| all[0].as_object()?.keys().next().cloned());
            if key.as_deref() != case.get("key").and_then(Value::as_str) {
                wrong.push(format!("key {yaml}: {key:?} for {:?}", case.get("key")));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn documents_anchors_and_merges_are_read() {
        for (yaml, expected) in [
            ("", json!([])),
            ("# nothing\n", json!([])),
            (
                "\u{feff}a: 1\r\n---\r\n# c\r\n---\r\nb: [x, 'y']\r\n...\r\n",
                json!([{"a": 1}, null, {"b": ["x", "y"]}]),
            ),
            ("a: &b 0400\n*b : c\n", json!([{"a": 256, "256": "c"}])),
            ("a: &b {x: 1}\nc: {<<: *b, z: 2}\n", json!([{"a": {"x": 1}, "c": {"x": 1, "z": 2}}])),
            ("{x: 1, <<: {x: 2}}", json!([{"x": 2}])),
            ("{<<: [{x: 2}, {x: 3, z: 4}]}", json!([{"x": 2, "z": 4}])),
            ("{\"<<\": 1, x: 1, x: 2}", json!([{"<<": 1, "x": 2}])),
            ("a: |\n  yes\nb: >-\n  0400\n", json!([{"a": "yes\n", "b": "0400"}])),
            ("{\"a\": [1, 2.5, null, true]}", json!([{"a": [1, 2.5, null, true]}])),
        ] {
            assert_eq!(documents(yaml).map(Value::from), Ok(expected), "{yaml}");
        }
        let (bomb, deep) = (format!("a: &a [x]\n{}", bomb()), "[".repeat(10_000));
        for yaml in ["a: *b", "{[a]: 1}", "a: &a [*a]", "<<: 1", "a: [", &bomb, &deep] {
            assert!(documents(yaml).is_err(), "{yaml}");
        }
    }

    fn bomb() -> String {
        let line =
            |(old, new)| format!("{new}: &{new} [{}]\n", vec![format!("*{old}"); 10].join(", "));
        ('a'..'j').zip('b'..='j').map(line).collect()
    }
}
