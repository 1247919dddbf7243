//! Receipts and reasons, as they are written. No value of a document is in them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::{
    document::Action,
    intent::{Acked, Duplicate, End, Rejected, Slip},
    journal::LineEnd,
    refusal::Refusal,
};
use crate::authentication::AuthenticationId;

/// `done/NAME.receipt.json`: what was done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Receipt<'a> {
    intent: Uuid,
    file: &'a str,
    #[serde(flatten)]
    done: Done<'a>,
}

/// What was done with a document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Done<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<Action>,
    /// `created`, `adopted`, `updated`, `deleted` or `duplicate`.
    outcome: &'static str,
    authentication_id: Option<AuthenticationId>,
    /// Of a copy: the intent of the one that was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate_of: Option<Uuid>,
    received_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_at: Option<Timestamp>,
    settled_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema_checked: Option<bool>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    notes: &'a [String],
}

impl<'a> Done<'a> {
    fn of_acked(slip: &Slip, acked: &'a Acked) -> Self {
        Self {
            action: slip.action,
            outcome: acked.effect.as_str(),
            authentication_id: Some(acked.authentication),
            duplicate_of: None,
            received_at: slip.received_at,
            sent_at: Some(acked.sent.sent_at),
            settled_at: acked.settled_at,
            schema_checked: Some(acked.sent.schema_checked),
            notes: &acked.sent.notes,
        }
    }

    fn of_duplicate(slip: &Slip, duplicate: &Duplicate) -> Self {
        Self {
            action: slip.action,
            outcome: "duplicate",
            authentication_id: duplicate.authentication,
            duplicate_of: Some(duplicate.of),
            received_at: slip.received_at,
            sent_at: None,
            settled_at: duplicate.at,
            schema_checked: None,
            notes: &[],
        }
    }
}

impl<'a> Receipt<'a> {
    pub(super) fn of_acked(slip: &'a Slip, acked: &'a Acked) -> Self {
        Self { intent: slip.id, file: &slip.file, done: Done::of_acked(slip, acked) }
    }

    pub(super) fn of_duplicate(slip: &'a Slip, duplicate: &Duplicate) -> Self {
        Self { intent: slip.id, file: &slip.file, done: Done::of_duplicate(slip, duplicate) }
    }
}

/// The receipt of a file of many documents.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bulk<'a> {
    intent: Uuid,
    file: &'a str,
    accepted: usize,
    rejected: usize,
    lines: Vec<BulkLine<'a>>,
}

/// What became of one of its lines.
#[derive(Debug, Serialize)]
struct BulkLine<'a> {
    line: usize,
    intent: Uuid,
    #[serde(flatten)]
    end: LineNote<'a>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum LineNote<'a> {
    Done(Done<'a>),
    Rejected {
        outcome: &'static str,
        #[serde(flatten)]
        refusal: LineRefusal<'a>,
    },
}

impl<'a> Bulk<'a> {
    pub(super) fn of(bulk: Uuid, file: &'a str, ended: &'a [LineEnd]) -> Self {
        let lines: Vec<_> = ended
            .iter()
            .map(|LineEnd { slip, end }| BulkLine {
                line: slip.line.map_or(0, |line| line.number),
                intent: slip.id,
                end: match end {
                    End::Acked(acked) => LineNote::Done(Done::of_acked(slip, acked)),
                    End::Duplicate(duplicate) => LineNote::Done(Done::of_duplicate(slip, duplicate)),
                    End::Rejected(Rejected { refusal, .. }) => {
                        LineNote::Rejected { outcome: "rejected", refusal: LineRefusal::of(refusal) }
                    }
                },
            })
            .collect();
        let rejected = lines.iter().filter(|line| matches!(line.end, LineNote::Rejected { .. })).count();
        Self { intent: bulk, file, accepted: lines.len() - rejected, rejected, lines }
    }
}

/// `rejected/NAME.reason.json`: why not.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reason<'a> {
    pub(super) intent: Uuid,
    pub(super) file: &'a str,
    #[serde(flatten)]
    pub(super) refusal: &'a Refusal,
    pub(super) at: Timestamp,
    /// Whether the document beside it is sealed to the vault.
    pub(super) sealed: bool,
}

/// The same for a file of many: its rejected lines are beside it, in their order.
#[derive(Debug, Serialize)]
pub(super) struct RejectedLines<'a> {
    intent: Uuid,
    file: &'a str,
    sealed: bool,
    lines: Vec<RejectedLine<'a>>,
}

#[derive(Debug, Serialize)]
struct RejectedLine<'a> {
    line: usize,
    #[serde(flatten)]
    refusal: LineRefusal<'a>,
}

/// A refusal but for its line, which is the file's.
#[derive(Debug, Serialize)]
struct LineRefusal<'a> {
    kind: super::super::refusal::Kind,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
}

impl<'a> RejectedLines<'a> {
    pub(super) fn new(intent: Uuid, file: &'a str, sealed: bool, lines: &[(usize, &'a Refusal)]) -> Self {
        let lines = lines.iter().map(|(line, refusal)| RejectedLine { line: *line, refusal: LineRefusal::of(refusal) });
        Self { intent, file, sealed, lines: lines.collect() }
    }
}

impl<'a> LineRefusal<'a> {
    fn of(refusal: &'a Refusal) -> Self {
        let Refusal { kind, reason, hint, pointer, line: _, column } = refusal;
        Self { kind: *kind, reason, hint: hint.as_deref(), pointer: pointer.as_deref(), column: *column }
    }
}

/// What a receipt or a reason says of whose it is.
#[derive(Deserialize)]
pub(super) struct Note {
    pub(super) intent: Uuid,
}

/// A note as it is written.
pub(super) fn to_json(note: &impl Serialize) -> Vec<u8> {
    let mut json =
        serde_json::to_vec_pretty(note).unwrap_or_else(|_| unreachable!("a note has string keys and plain values"));
    json.push(b'\n');
    json
}
