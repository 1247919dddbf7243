//! Checks an object against a service environment's schema, which is of mixed age and care (see the contract): up to
//! date enough to compile first, and where it can't be, the check is Tray's.

use jsonschema::{Draft, ValidationError, Validator, error::ValidationErrorKind};
use serde_json::{Map, Value};

use super::refusal::{Kind, Refusal, shown, token};

/// Violations that one refusal names.
const NAMED: usize = 5;

/// A schema of Tray's.
pub(super) struct Schema {
    /// `None`: it can't be compiled.
    validator: Option<Validator>,
}

impl Schema {
    /// Compiles a schema. One that is absent, or is no object, allows anything.
    pub(super) fn compile(schema: &Value) -> Self {
        let schema = if schema.is_object() { schema.clone() } else { Value::Object(Map::new()) };
        let draft = draft(&schema);
        let schema = if draft == Draft::Draft4 { modern(schema).schema } else { schema };
        Self { validator: jsonschema::options().with_draft(draft).build(&schema).ok() }
    }

    /// Whether it could be compiled.
    pub(super) fn is_usable(&self) -> bool {
        self.validator.is_some()
    }

    /// Whether an object satisfies it. Anything satisfies one that could not be compiled.
    pub(super) fn allows(&self, object: &Value) -> bool {
        self.validator.as_ref().is_none_or(|validator| validator.is_valid(object))
    }

    /// Checks an object, which stands at `pointer` in the document.
    ///
    /// # Errors
    /// The places and keywords that are violated, and no value.
    pub(super) fn check(&self, object: &Value, pointer: &str) -> Result<(), Refusal> {
        let Some(validator) = &self.validator else { return Ok(()) };
        let violations: Vec<_> =
            validator.iter_errors(object).take(NAMED).map(|error| place(&error, pointer)).collect();
        let Some((first, _)) = violations.first() else { return Ok(()) };
        let named: Vec<_> = violations.iter().map(|(place, keyword)| format!("{place}: {keyword}")).collect();
        let reason = format!("the service's schema is not satisfied at {}", named.join(", "));
        Err(Refusal::new(Kind::Schema, reason).at(first))
    }
}

/// Where a violation is, and of which keyword. Its message, which quotes the value, is not asked for.
fn place(error: &ValidationError<'_>, pointer: &str) -> (String, String) {
    let mut place = pointer.to_owned();
    place.extend(
        error
            .instance_path()
            .as_str()
            .split('/')
            .skip(1)
            .map(|part| token(&part.replace("~1", "/").replace("~0", "~"))),
    );
    match error.kind() {
        ValidationErrorKind::Required { property } => place.push_str(&token(property.as_str().unwrap_or_default())),
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            place.extend(unexpected.first().map(|key| token(key)));
        }
        _ => {}
    }
    (place, shown(error.kind().keyword()))
}

/// The draft that a schema names, in `$schema` or, as Tray's do, in `schema`; 3, which comes to 4 by [`modern`], and
/// what names none, as 4.
fn draft(schema: &Value) -> Draft {
    let named = ["$schema", "schema"].iter().find_map(|key| schema.get(key)?.as_str()).unwrap_or_default();
    [
        ("draft-06", Draft::Draft6),
        ("draft-07", Draft::Draft7),
        ("2019-09", Draft::Draft201909),
        ("2020-12", Draft::Draft202012),
    ]
    .into_iter()
    .find(|(name, _)| named.contains(name))
    .map_or(Draft::Draft4, |(_, draft)| draft)
}

/// A schema brought to draft 4, with what draft 3 says of it to its parent.
struct Modern {
    schema: Value,
    required: bool,
}

/// Brings a schema of draft 3 or 4 to draft 4: `id`s, which repeat, are left out; `required: true` in a property becomes
/// a name in its parent's `required`; `type: any` and `divisibleBy` get their later forms.
fn modern(schema: Value) -> Modern {
    let Value::Object(keywords) = schema else { return Modern { schema, required: false } };
    let mut out = Map::new();
    let mut names = Vec::new();
    let mut required = false;
    for (keyword, value) in keywords {
        match (keyword.as_str(), value) {
            ("id" | "$schema" | "schema", Value::String(_)) => {}
            ("type", Value::String(any)) if any == "any" => {}
            ("required", Value::Array(listed)) => names.extend(listed),
            ("required", flag) => required = flag == Value::Bool(true),
            ("divisibleBy", by) => drop(out.insert("multipleOf".to_owned(), by)),
            ("properties", Value::Object(properties)) => {
                let modern_property = |(name, schema)| {
                    let Modern { schema, required } = modern(schema);
                    if required {
                        names.push(Value::String(String::clone(&name)));
                    }
                    (name, schema)
                };
                out.insert(keyword, Value::Object(properties.into_iter().map(modern_property).collect()));
            }
            ("patternProperties" | "definitions" | "dependencies", Value::Object(schemas)) => {
                let all = schemas.into_iter().map(|(name, schema)| (name, modern(schema).schema)).collect();
                out.insert(keyword, Value::Object(all));
            }
            ("items" | "additionalItems" | "additionalProperties" | "not" | "allOf" | "anyOf" | "oneOf", inner) => {
                let inner = match inner {
                    Value::Array(all) => all.into_iter().map(|one| modern(one).schema).collect(),
                    one => modern(one).schema,
                };
                out.insert(keyword, inner);
            }
            (_, value) => drop(out.insert(keyword, value)),
        }
    }
    let mut unique = Vec::new();
    for name in names {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    // Draft 4 wants at least one name in it.
    if !unique.is_empty() {
        out.insert("required".to_owned(), Value::Array(unique));
    }
    Modern { schema: Value::Object(out), required }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reason(schema: &Value, object: &Value) -> String {
        let schema = Schema::compile(schema);
        assert!(schema.is_usable());
        schema.check(object, "/credentials").expect_err("a violation").reason
    }

    #[test]
    fn draft_3_booleans_become_draft_4_lists() {
        let schema = json!({
            "schema": "http://json-schema.org/draft-03/schema#", "id": "#", "type": "object",
            "properties": {
                "id": {"type": "string", "required": true, "id": "#field"},
                "inner": {"type": "object", "id": "#field", "properties": {"key": {"type": "any", "required": true}}},
                "port": {"type": "integer", "required": false, "divisibleBy": 2},
            },
        });
        assert_eq!(reason(&schema, &json!({})), "the service's schema is not satisfied at /credentials/id: required");
        let inner = reason(&schema, &json!({"id": "x", "inner": {}}));
        assert_eq!(inner, "the service's schema is not satisfied at /credentials/inner/key: required");
        let odd = reason(&schema, &json!({"id": "x", "port": 3}));
        assert_eq!(odd, "the service's schema is not satisfied at /credentials/port: multipleOf");
        assert!(Schema::compile(&schema).check(&json!({"id": "x", "inner": {"key": 1}, "port": 4}), "").is_ok());
    }

    #[test]
    fn a_violation_never_carries_a_value() {
        let schema = json!({"type": "object", "additionalProperties": false, "properties": {
            "a": {"type": "integer"}, "b": {"enum": ["x"]}, "c": {"pattern": "^x$"}, "d": {"maxLength": 1}}});
        let canary = "s3cr3t-canary";
        for key in ["a", "b", "c", "d", "e"] {
            let reason = reason(&schema, &json!({key: canary}));
            assert!(reason.contains(&format!("/credentials/{key}: ")), "{reason}");
            assert!(!reason.contains(canary), "{reason}");
        }
    }

    #[test]
    fn sloppy_schemas_are_used_as_far_as_they_go() {
        let sloppy = json!({"schema": "http://json-schema.org/draft-04/schema#", "id": "#a", "type": "object", "required": [],
            "properties": {"t": {"id": "#a", "type": "string", "tytpe": "strng", "format": "password", "advanced": true}}});
        assert!(Schema::compile(&sloppy).is_usable());
        assert!(reason(&sloppy, &json!({"t": 1})).contains("/credentials/t: type"));
        for empty in [json!({}), Value::Null, json!("text")] {
            assert!(Schema::compile(&empty).check(&json!({"any": 1}), "").is_ok());
        }
    }

    #[test]
    fn a_schema_that_can_not_be_compiled_stops_nothing() {
        for broken in [
            json!({"type": "strng"}),
            json!({"properties": {"a": {"pattern": "["}}}),
            json!({"$ref": "https://e.example/s"}),
        ] {
            let schema = Schema::compile(&broken);
            assert!(!schema.is_usable(), "{broken}");
            assert!(schema.check(&json!({"a": 1}), "").is_ok());
        }
    }
}
