//! What docs/ says of an entry.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

const SCHEMA: &str = include_str!("../../../docs/audit.schema.json");
const DOCUMENT: &str = include_str!("../../../docs/audit.md");

#[test]
fn every_action_is_in_the_schema_and_in_the_document_with_its_message_id() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let listed = schema["properties"]["action"]["enum"].as_array().unwrap();
    let listed: BTreeSet<_> = listed.iter().map(|action| action.as_str().unwrap()).collect();
    assert_eq!(Action::every().map(Action::as_str).collect::<BTreeSet<_>>(), listed);
    for action in listed.into_iter().chain(["audit.anchor"]) {
        let begins = format!("| `{action}` | ");
        let row = DOCUMENT.lines().find(|line| line.starts_with(&begins)).unwrap_or_else(|| panic!("{action}"));
        assert!(row.ends_with(&format!(" | `{}` |", mirror::message_id(action))), "{row}");
    }
}

#[test]
fn every_member_is_in_the_document() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    for member in schema["properties"].as_object().unwrap().keys() {
        let is_there =
            |line: &str| line.starts_with("| `") && line.split(" | ").next().unwrap().contains(&format!("`{member}`"));
        assert!(DOCUMENT.lines().any(is_there), "{member}");
    }
}

#[test]
fn an_entry_of_every_action_and_outcome_with_every_member_is_as_the_schema_says() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let fixture = Fixture::new();
    let log = fixture.open(small());
    for action in Action::every() {
        for outcome in [Outcome::Begun, Outcome::Done, Outcome::Refused, Outcome::Failed] {
            let id = uuid::Uuid::new_v4();
            let mut event =
                Event { action, outcome, ..event(1) }.because("because").count(1).slot(id).epoch(1).digest([1; 32]);
            event.target.intent = Some(id);
            event.target.owner = Some(crate::authentication::Owner::Workspace);
            log.record(&event).unwrap();
            log.record(&Event::new(action, outcome)).unwrap();
        }
    }
    let mut members = BTreeSet::new();
    for path in closed_segments(fixture.path()).unwrap().into_iter().chain([fixture.file()]) {
        for line in fs::read_to_string(path).unwrap().lines() {
            let entry: Value = serde_json::from_str(line).unwrap();
            let errors: Vec<_> = validator.iter_errors(&entry).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{line}\n{errors:?}");
            members.extend(entry.as_object().unwrap().keys().cloned());
        }
    }
    let declared: BTreeSet<_> = schema["properties"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, declared);
}
