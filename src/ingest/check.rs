//! Checks a body against its service environment before anything leaves, and notes what could not be checked.

use serde_json::{Value, value::RawValue};

use super::{
    plan::Body,
    refusal::{Kind, Refusal, shown},
    schema::Schema,
};
use crate::tray::{Scope, ServiceEnvironment};

/// Names that one hint lists.
const LISTED: usize = 6;

const OAUTH_HINT: &str = "the environment signs in by OAuth: give what a sign-in to its own OAuth app gave (access and \
    refresh token), or have the end user sign in through Tray";
const OAUTH_NOTE: &str = "the environment signs in by OAuth: Tray can use and refresh these credentials only if they \
    come from its own OAuth app";

/// What a check came to.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// Whether both schemas were checked here.
    pub(super) schemas: bool,
    /// What is worth knowing and stops nothing: clauses without any value of the document.
    pub(super) notes: Vec<String>,
}

/// What of a body comes from the document.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    /// The scopes, if it gives any.
    pub(super) scopes: Option<&'a [String]>,
    /// Whether it gives credentials, or a part of them.
    pub(super) credentials: bool,
    /// Whether what it is put over satisfies its schemas; what does not is not the document's fault.
    pub(super) over_sound: bool,
}

/// Checks a body against its environment, of the service that is named `service`, as far as they are known.
///
/// # Errors
/// It breaks a schema, or names a scope that the environment does not offer.
pub(super) fn check(
    body: &Body<'_>,
    given: Given<'_>,
    environment: Option<&ServiceEnvironment>,
    service: &str,
) -> Result<Checked, Refusal> {
    let Some(environment) = environment else {
        let note = "its service environment's schemas are not known here: the check was Tray's".to_owned();
        return Ok(Checked { schemas: false, notes: vec![note] });
    };
    check_scopes(given.scopes.unwrap_or_default(), environment)?;
    let signs_in = matches!(environment.authentication_type.as_deref(), Some("oauth1" | "oauth2"));
    let mut checked = check_schemas(body, given, environment, service)
        .map_err(|refusal| if signs_in && is_of_credentials(&refusal) { refusal.hint(OAUTH_HINT) } else { refusal })?;
    if signs_in && given.credentials {
        checked.notes.push(OAUTH_NOTE.to_owned());
    }
    Ok(checked)
}

fn check_schemas(
    body: &Body<'_>,
    given: Given<'_>,
    environment: &ServiceEnvironment,
    service: &str,
) -> Result<Checked, Refusal> {
    if !given.over_sound {
        let note = "what Tray holds breaks its service's schema already: the check was Tray's".to_owned();
        return Ok(Checked { schemas: false, notes: vec![note] });
    }
    let objects = [
        (&environment.user_data_schema, &*body.user_data, "/userData", "user data"),
        (&environment.credentials_schema, &*body.credentials, "/credentials", "credentials"),
    ];
    let mut checked = Checked { schemas: true, notes: Vec::new() };
    for (schema, object, pointer, what) in objects {
        let schema = Schema::compile(schema);
        if !schema.is_usable() {
            tracing::warn!(
                service,
                object = pointer,
                "a service's schema can't be compiled: the check is left to Tray"
            );
            checked.schemas = false;
            checked.notes.push(format!("the {what} schema of {service} can't be compiled: the check was Tray's"));
        }
        schema.check(&value(object)?, pointer)?;
    }
    Ok(checked)
}

fn is_of_credentials(refusal: &Refusal) -> bool {
    refusal.pointer.as_deref().is_some_and(|pointer| pointer.starts_with("/credentials"))
}

/// An environment that lists no scopes may take any.
fn check_scopes(scopes: &[String], environment: &ServiceEnvironment) -> Result<(), Refusal> {
    let offered: Vec<_> = environment.scopes.iter().flatten().map(Scope::name).collect();
    let unknown = scopes.iter().position(|scope| !offered.contains(&scope.as_str()));
    match unknown {
        Some(index) if !offered.is_empty() => {
            let refusal = Refusal::new(Kind::Unresolved, "the service environment does not offer this scope");
            Err(refusal.at(format!("/scopes/{index}")).hint(format!("it offers {}", listed(&offered))))
        }
        _ => Ok(()),
    }
}

/// Names of Tray's, as a hint lists them: the first few.
pub(super) fn listed(names: &[impl AsRef<str>]) -> String {
    let quoted: Vec<_> = names.iter().take(LISTED).map(|name| format!("\"{}\"", shown(name.as_ref()))).collect();
    match names.len().saturating_sub(LISTED) {
        0 => quoted.join(", "),
        more => format!("{} and {more} more", quoted.join(", ")),
    }
}

/// Whether what is held satisfies its own environment's schemas.
pub(super) fn is_sound(user_data: &RawValue, credentials: &RawValue, environment: &ServiceEnvironment) -> bool {
    [(&environment.user_data_schema, user_data), (&environment.credentials_schema, credentials)]
        .into_iter()
        .all(|(schema, object)| value(object).is_ok_and(|object| Schema::compile(schema).allows(&object)))
}

/// The value that the schemas are checked on.
fn value(object: &RawValue) -> Result<Value, Refusal> {
    serde_json::from_str(object.get()).map_err(|_| Refusal::new(Kind::Document, "an object is nested too deeply"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_lists_a_handful() {
        assert_eq!(listed(&["a", "b\n"]), "\"a\", \"b\\n\"");
        assert_eq!(listed(&["x"; 9]), "\"x\", \"x\", \"x\", \"x\", \"x\", \"x\" and 3 more");
    }
}
