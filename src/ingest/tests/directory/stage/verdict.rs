//! Whether it is as the model has it.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    super::{super::CANARY, model::End, operations::OWNERS},
    Stage, pause,
};
use crate::{emulator::Account, ingest::intent::Unfinished};

const PATIENCE: Duration = Duration::from_secs(20);

impl Stage {
    /// Ends all that is under way, and looks.
    pub(in super::super) fn end(mut self) -> Result<(), String> {
        while !self.writers.is_empty() {
            self.end_in_place(0);
        }
        self.start();
        let settled = self.settled();
        self.stop();
        if settled {
            // Once more, and nothing happens.
            self.start();
            pause(300);
            self.stop();
        }
        let (expected, found) = (self.expected(), self.found());
        if expected != found {
            let unfinished = self.unfinished();
            return Err(format!("expected outcomes {expected:#?}\nfound {found:#?}\nin the journal {unfinished:#?}"));
        }
        self.upstream()?;
        self.nothing_else()?;
        self.host.assert_nothing_leaked();
        Ok(())
    }

    /// Waits until every outcome is there; `false` if that takes too long.
    pub(super) fn settled(&self) -> bool {
        let (expected, begun) = (self.expected(), Instant::now());
        while self.found() != expected {
            if begun.elapsed() > PATIENCE {
                return false;
            }
            pause(20);
        }
        true
    }

    fn expected(&self) -> Vec<(String, End)> {
        let mut expected = self.model.outcomes.clone();
        expected.sort();
        expected
    }

    fn found(&self) -> Vec<(String, End)> {
        let mut found = [self.left(), self.gone.clone()].concat();
        found.sort();
        found
    }

    /// The outcomes that lie there.
    pub(super) fn left(&self) -> Vec<(String, End)> {
        let drop = self.host.drop();
        let receipts = notes(&drop.join("done"), ".receipt.json").into_iter().map(|receipt| {
            let outcome = |of: &Value| match of["outcome"].as_str().expect("an outcome") {
                // Which of the two depends on what was cut off.
                "adopted" => "created".to_owned(),
                other => other.to_owned(),
            };
            match receipt["lines"].as_array() {
                Some(lines) => (file(&receipt), End::Lines(lines.iter().map(outcome).collect())),
                None => (file(&receipt), End::Receipt(outcome(&receipt))),
            }
        });
        let reasons = notes(&drop.join("rejected"), ".reason.json").into_iter().map(|reason| {
            let kind = |of: &Value| of["kind"].as_str().expect("a kind").to_owned();
            let lines = reason["lines"].as_array().map(|lines| lines.iter().map(kind).collect::<Vec<_>>().join(" "));
            (file(&reason), End::Reason(lines.unwrap_or_else(|| kind(&reason))))
        });
        receipts.chain(reasons).collect()
    }

    /// What is not at its end: its file's name, and how far it came.
    fn unfinished(&self) -> Vec<(String, String)> {
        let journal = (self.host.dependencies)().journal;
        let contents = self.runtime.block_on(journal.contents()).expect("readable");
        let stage = |one: &Unfinished| format!("{one:?}").split(['(', ' ']).next().unwrap_or_default().to_owned();
        contents.unfinished.iter().map(|one| (one.slip().file.clone(), stage(one))).collect()
    }

    fn upstream(&self) -> Result<(), String> {
        let world = self.host.emulator.world();
        let creations = world.creations();
        let in_place: BTreeSet<_> = self.model.created_in_place.iter().collect();
        for (owner, user) in world.users().into_iter().take(OWNERS).enumerate() {
            let of_owner = creations.iter().filter(|one| one.by == Account::User(user.id)).map(|one| &one.name);
            let in_order: Vec<_> = of_owner.filter(|name| !in_place.contains(name)).collect();
            let expected: Vec<_> = self.model.created[owner].iter().collect();
            if in_order != expected {
                return Err(format!("owner {owner} asked for {expected:#?}\nand Tray created {in_order:#?}"));
            }
            let held = world.authentication(self.updated[owner]).map(|one| one.credentials["access_token"].clone());
            let last = self.model.updated.get(&owner).map_or("old", |token| token);
            if held != Some(Value::from(last)) {
                return Err(format!("owner {owner}: {last} came last, and Tray has {held:?}"));
            }
        }
        let created_in_place: Vec<_> =
            creations.iter().map(|one| &one.name).filter(|name| in_place.contains(name)).collect();
        if created_in_place.len() != in_place.len() || created_in_place.into_iter().collect::<BTreeSet<_>>() != in_place
        {
            return Err(format!("of what was written in place Tray has not each one once: {in_place:?}"));
        }
        match self.deleted.iter().find(|id| world.authentication(**id).is_some()) {
            Some(id) => Err(format!("{id} was not deleted")),
            None if world.authentications().len() != self.seeded + creations.len() => {
                Err("Tray has others than were asked for".to_owned())
            }
            None => Ok(()),
        }
    }

    fn nothing_else(&self) -> Result<(), String> {
        let names = |directory: &Path| {
            let entries =
                fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").file_name());
            entries.map(|name| name.into_string().expect("text")).collect::<BTreeSet<_>>()
        };
        let drop = self.host.drop();
        let top = names(&drop);
        if top != [".claimed", "done", "rejected", "tmp"].map(str::to_owned).into() {
            return Err(format!("at the top level are {top:?}"));
        }
        let rejected = names(&drop.join("rejected"));
        for name in &rejected {
            let other = match name.strip_suffix(".reason.json") {
                Some(file) => file.to_owned(),
                None => format!("{name}.reason.json"),
            };
            if !rejected.contains(&other) {
                return Err(format!("rejected/{name} is alone"));
            }
        }
        let done = names(&drop.join("done"));
        match done.iter().find(|name| !name.ends_with(".receipt.json")) {
            Some(other) => Err(format!("done/{other} is no receipt")),
            None => Ok(()),
        }
    }
}

fn file(note: &Value) -> String {
    note["file"].as_str().expect("a file").to_owned()
}

/// The notes of a kind in a directory.
fn notes(directory: &Path, ending: &str) -> Vec<Value> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let ours = paths.filter(|path| path.to_string_lossy().ends_with(ending));
    ours.map(|path| {
        let text = fs::read_to_string(path).expect("readable");
        assert!(!text.contains(CANARY), "{text}");
        serde_json::from_str(&text).expect("JSON")
    })
    .collect()
}
