//! What came of it, in numbers.

use std::{collections::BTreeMap, io::Write};

#[derive(Default)]
pub(crate) struct Figures {
    kills: BTreeMap<String, u32>,
    dropped: u32,
    outcomes: BTreeMap<String, u32>,
}

impl Figures {
    pub(crate) fn killed(&mut self, at: &str) {
        *self.kills.entry(at.to_owned()).or_default() += 1;
    }

    pub(crate) fn dropped(&mut self) {
        self.dropped += 1;
    }

    /// A document's outcome, which the oracle has found to be right.
    pub(crate) fn ended(&mut self, outcome: &str) {
        *self.outcomes.entry(outcome.to_owned()).or_default() += 1;
    }

    pub(crate) fn add(&mut self, others: Self) {
        for (at, kills) in others.kills {
            *self.kills.entry(at).or_default() += kills;
        }
        for (outcome, count) in others.outcomes {
            *self.outcomes.entry(outcome).or_default() += count;
        }
        self.dropped += others.dropped;
    }

    /// Tells them, past the harness that would keep them to itself. Lost and duplicates are none, or this is not reached.
    pub(crate) fn tell(&self, what: &str) {
        let list = |all: &BTreeMap<String, u32>| {
            all.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
        };
        let kills: u32 = self.kills.values().sum();
        let _ = writeln!(
            std::io::stderr(),
            "{what}: {kills} kills, {} files dropped; documents: {}; lost 0, made twice 0\n  killed at: {}",
            self.dropped,
            list(&self.outcomes),
            list(&self.kills)
        );
    }
}
