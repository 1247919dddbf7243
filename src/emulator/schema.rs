//! The schema check that Tray makes of `credentials` and `userData`.

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value};

/// A compiled schema, or `None` for one that can't be compiled, which allows anything.
#[derive(Debug)]
pub(super) struct Check(Option<Validator>);

impl Check {
    /// Compiles a schema as found in Tray: draft-04 whatever its `schema` key says, repeated `id`s ignored. Draft-03's
    /// `required: true` doesn't compile as draft-04, so such a schema checks nothing.
    pub(super) fn compile(schema: &Value) -> Self {
        let mut schema = schema.clone();
        forget_ids(&mut schema);
        Self(jsonschema::options().with_draft(Draft::Draft4).build(&schema).ok())
    }

    /// Err with a message that, like Tray's, quotes what was sent.
    pub(super) fn check(&self, what: &str, sent: &Map<String, Value>) -> Result<(), String> {
        let Some(validator) = &self.0 else {
            return Ok(());
        };
        let sent = Value::Object(sent.clone());
        validator.validate(&sent).map_err(|error| format!("{what} does not match its schema: {error}; received {sent}"))
    }
}

/// `id` names a base URI in draft-04, and Tray's schemas repeat theirs. A property that is called `id` holds an object,
/// not a string, and stays.
fn forget_ids(schema: &mut Value) {
    match schema {
        Value::Object(keywords) => {
            keywords.retain(|keyword, value| !(keyword == "id" && value.is_string()));
            keywords.values_mut().for_each(forget_ids);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_ids),
        _ => {}
    }
}
