//! Every step at which the daemon is killed, and what is dropped so that it gets there.

use std::{collections::BTreeSet, fs, path::Path};

use crate::ledger::Sort::{
    self, Bulk, Copy, Create, Delete, Link, Long, NewUser, NotJson, Part, Schema, Sealed, Upsert, Whole,
};

/// A failpoint.
pub(crate) struct Step {
    /// Its name.
    pub(crate) at: &'static str,
    /// At which passings of it the daemon is killed.
    pub(crate) counts: &'static [u32],
    /// What is dropped.
    pub(crate) drops: &'static [Sort],
    pub(crate) trouble: Trouble,
}

/// What has to go wrong in Tray for a step to be reached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// Creates never arrive.
    CreateLost,
    /// A create is put off.
    CreateRefused,
    /// The daemon was killed before, at this failpoint.
    DiedAt(&'static str),
    /// A create's answer never comes, and somebody else makes one that looks the same.
    Twin,
}

pub(crate) const EVERYTHING: &[Sort] =
    &[Create, Part, Upsert, Delete, Bulk, Schema, NotJson, Copy, Sealed, NewUser, Whole, Link, Long];
const FILES: &[Sort] = &[Create, Bulk, NotJson, Sealed, Schema];
const DELIVERED: &[Sort] = &[Create, Part, Upsert, Delete];
const REFUSED: &[Sort] = &[Schema, NotJson, Create];

const fn step(at: &'static str, counts: &'static [u32], drops: &'static [Sort]) -> Step {
    Step { at, counts, drops, trouble: Trouble::None }
}

const fn troubled(at: &'static str, counts: &'static [u32], drops: &'static [Sort], trouble: Trouble) -> Step {
    Step { at, counts, drops, trouble }
}

/// All of them.
pub(crate) const STEPS: &[Step] = &[
    step("intake.claimed", &[1, 2], EVERYTHING),
    step("intake.claims_synced", &[1, 2], FILES),
    step("intake.read", &[1, 2], FILES),
    step("intake.journaled", &[1, 2], EVERYTHING),
    step("intake.overwritten", &[1, 2], FILES),
    step("intake.removed", &[1, 2], FILES),
    step("intake.rejected", &[1, 2], &[NotJson, NotJson, Create]),
    step("deliver.planned", &[1, 3], DELIVERED),
    step("deliver.begun", &[1, 3], DELIVERED),
    step("deliver.sent", &[1, 2, 3, 4], DELIVERED),
    troubled("deliver.taken_back", &[1], &[Create], Trouble::CreateRefused),
    step("settle.answered", &[1, 2, 3, 4], DELIVERED),
    step("settle.acked", &[1, 4], DELIVERED),
    step("settle.recorded", &[1, 4], DELIVERED),
    step("settle.cached", &[1], DELIVERED),
    step("settle.receipt_written", &[1, 3], DELIVERED),
    step("settle.duplicate", &[1], &[Create, Copy]),
    step("settle.rejected", &[1, 2], REFUSED),
    step("settle.reason_written", &[1], REFUSED),
    step("settle.finished", &[1, 5], &[Create, Bulk]),
    step("settle.bulk_written", &[1], &[Bulk, Create]),
    step("settle.lines_finished", &[1], &[Bulk, Create]),
    troubled("recover.held", &[1], &[Create], Trouble::Twin),
    troubled("recover.begun", &[1, 2], &[Create, Create], Trouble::CreateLost),
    troubled("recover.sent_again", &[1, 2], &[Create, Create], Trouble::CreateLost),
    troubled("recover.taken_back", &[1], &[Whole], Trouble::DiedAt("deliver.sent:1")),
    step("outcome.document_left", &[1, 2], REFUSED),
    step("outcome.reason_left", &[1, 2], REFUSED),
    step("outcome.receipt_left", &[1, 2], &[Create, Bulk]),
    step("outcome.reason_of_moved", &[1], &[Link, Create]),
    step("overwrite.part", &[1, 2], &[Long, Create]),
    step("outcome.moved", &[1], &[Link, Create]),
    step("files.written", &[1, 2, 3], &[NotJson, Create]),
    step("files.linked", &[1, 2, 3], &[NotJson, Create]),
    step("user.begun", &[1], &[NewUser, Create]),
    step("user.made", &[1], &[NewUser, Create]),
    step("user.remembered", &[1], &[NewUser, Create]),
];

/// Their names.
pub(crate) fn names() -> Vec<&'static str> {
    STEPS.iter().map(|step| step.at).collect()
}

/// The failpoints that the source has.
fn in_source(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            in_source(&path, found);
        } else {
            let source = fs::read_to_string(&path).expect("source");
            let names = source.split("failpoint!(\"").skip(1).filter_map(|rest| rest.split('"').next());
            found.extend(names.map(str::to_owned));
        }
    }
}

#[test]
fn every_failpoint_in_the_source_is_a_step_and_the_other_way_round() {
    let mut found = BTreeSet::new();
    in_source(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    let steps: BTreeSet<_> = STEPS.iter().map(|step| step.at.to_owned()).collect();
    assert_eq!(found, steps);
}
