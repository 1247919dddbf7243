//! `trayvault drop --plan`: what would become of a document, without any value of it.

use std::path::Path;

use serde::Serialize;

use super::{Code, Connected, Failure, api, input::Input, output};
use crate::{
    requests::ingest::{Change, Does, Field, Preview},
    secret::SecretBytes,
};

/// The largest document that the daemon plans, in bytes.
const DOCUMENT_LEN: usize = 64 * 1024;
/// The largest file that is planned line by line.
const FILE_LEN: usize = 16 * 1024 * 1024;
/// How much of a fingerprint is shown: enough to tell values of one document apart.
const SHOWN_DIGITS: usize = 8;

/// One document of many.
#[derive(Serialize)]
struct Planned {
    line: usize,
    preview: Preview,
}

pub(super) fn run(connected: &Connected, file: &Path, by_lines: bool, json: bool) -> Result<(), Failure> {
    let input = Input::open(file)?;
    if by_lines && input.is_sealed() {
        return Err(Failure::new(Code::Data, "a sealed file can't be planned line by line")
            .hint("plan it before it is sealed".to_owned()));
    }
    let content = input.read(if by_lines { FILE_LEN } else { DOCUMENT_LEN })?;
    if by_lines { run_by_lines(connected, &content, json) } else { run_one(connected, content, json) }
}

fn run_one(connected: &Connected, document: SecretBytes, json: bool) -> Result<(), Failure> {
    let preview: Preview = api::post(connected, "/v1/ingest/plan", document)?;
    if json {
        output::json(&preview)?;
    }
    match &preview {
        Preview::Accepted { .. } if json => Ok(()),
        Preview::Accepted { .. } => print_accepted("", &preview),
        Preview::Rejected { hint, .. } => Err(Failure::new(Code::Data, describe_rejected(&preview)).hint(hint.clone())),
    }
}

fn run_by_lines(connected: &Connected, content: &SecretBytes, json: bool) -> Result<(), Failure> {
    let (mut planned, mut rejected, mut total) = (Vec::new(), 0_usize, 0_usize);
    let lines = content.expose_secret().split(|byte| *byte == b'\n').zip(1..);
    for (text, number) in lines.filter(|(text, _)| !text.trim_ascii().is_empty()) {
        if text.len() > DOCUMENT_LEN {
            return Err(Failure::new(Code::Data, format!("line {number} is larger than {DOCUMENT_LEN} bytes")));
        }
        let mut preview: Preview = api::post(connected, "/v1/ingest/plan", SecretBytes::new(text.to_vec()))?;
        total += 1;
        if let Preview::Rejected { line, .. } = &mut preview {
            rejected += 1;
            *line = Some(number);
        }
        if json {
            planned.push(Planned { line: number, preview });
        } else {
            print_line(number, &preview)?;
        }
    }
    if json {
        output::json(&planned)?;
    }
    match rejected {
        0 => Ok(()),
        _ => Err(Failure::new(Code::Data, format!("{rejected} of {total} documents would be rejected"))),
    }
}

fn print_line(number: usize, preview: &Preview) -> Result<(), Failure> {
    let Preview::Rejected { hint, .. } = preview else {
        return print_accepted(&format!("line {number}: "), preview);
    };
    output::line(&format!("would be rejected: {}", describe_rejected(preview)))?;
    hint.iter().try_for_each(|hint| output::line(&format!("hint: {hint}")))
}

/// The reason, and where in the document it lies.
fn describe_rejected(preview: &Preview) -> String {
    let Preview::Rejected { reason, pointer, line, column, .. } = preview else { return String::new() };
    let place = [
        line.map(|line| format!("line {line}")),
        column.map(|column| format!("column {column}")),
        pointer.as_ref().filter(|pointer| !pointer.is_empty()).map(|pointer| format!("at {pointer}")),
    ];
    let place: Vec<_> = place.into_iter().flatten().collect();
    if place.is_empty() { reason.clone() } else { format!("{}: {reason}", place.join(", ")) }
}

fn print_accepted(prefix: &str, preview: &Preview) -> Result<(), Failure> {
    let Preview::Accepted { fields, notes, .. } = preview else { return Ok(()) };
    output::line(&format!("{prefix}{}", heading(preview)))?;
    if !fields.is_empty() {
        let mut table = output::Rows::new(["field", "change", "before", "after"]);
        table.keep_whole(&[1, 2, 3]);
        for Field { pointer, change, before, after } in fields {
            let change = match change {
                Change::Added => "added",
                Change::Changed => "changed",
                Change::Same => "same",
                Change::Removed => "removed",
            };
            table.add([pointer, change, shortened(before.as_deref()), shortened(after.as_deref())]);
        }
        table.print()?;
    }
    notes.iter().try_for_each(|note| output::line(&format!("note: {note}")))
}

fn heading(preview: &Preview) -> String {
    let Preview::Accepted { does, owner, creates_user, authentication_id, name, .. } = preview else {
        return String::new();
    };
    let what = match does {
        Does::Create => "create",
        Does::Replace => "replace",
        Does::Delete => "delete",
    };
    let id = authentication_id.map(|id| format!(" {id}")).unwrap_or_default();
    let name = name.as_ref().map(|name| format!(" {name:?}")).unwrap_or_default();
    let owner = owner.as_deref().map_or_else(|| "the workspace".to_owned(), |owner| format!("{owner:?}"));
    let user = if *creates_user { ", and this end user first" } else { "" };
    format!("would {what}{id}{name} of {owner}{user}")
}

/// The beginning of a fingerprint; a dash for none.
fn shortened(fingerprint: Option<&str>) -> &str {
    fingerprint.map_or("-", |text| text.get(..SHOWN_DIGITS).unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::ingest::holds_many;

    fn accepted(does: Does, creates_user: bool) -> Preview {
        Preview::Accepted {
            does,
            owner: Some("acme-1".to_owned()),
            creates_user,
            authentication_id: None,
            name: Some("Acme Slack".to_owned()),
            fields: Vec::new(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_heading_says_what_would_be_done_to_whose() {
        assert_eq!(heading(&accepted(Does::Replace, false)), "would replace \"Acme Slack\" of \"acme-1\"");
        let created = "would create \"Acme Slack\" of \"acme-1\", and this end user first";
        assert_eq!(heading(&accepted(Does::Create, true)), created);
    }

    #[test]
    fn a_rejection_says_where() {
        let rejected = |pointer: Option<&str>, line| Preview::Rejected {
            kind: "schema".to_owned(),
            reason: "it is wrong".to_owned(),
            hint: None,
            pointer: pointer.map(str::to_owned),
            line,
            column: line.map(|_| 7),
        };
        assert_eq!(describe_rejected(&rejected(Some("/name"), Some(3))), "line 3, column 7, at /name: it is wrong");
        assert_eq!(describe_rejected(&rejected(Some(""), None)), "it is wrong");
    }

    #[test]
    fn lines_are_told_by_the_name_and_fingerprints_are_cut() {
        assert!(holds_many("a.ndjson") && holds_many("dir/a.jsonl") && !holds_many("a.json"));
        assert!(holds_many("A.NDJSON") && holds_many("a.ndjson.age"), "as the daemon tells them");
        let shown = [Some("0123456789abcdef"), Some("0123"), None].map(shortened);
        assert_eq!(shown, ["01234567", "0123", "-"]);
    }
}
