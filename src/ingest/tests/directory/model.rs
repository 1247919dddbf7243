//! What must be there at the end, told from what was delivered.

use std::collections::BTreeMap;

use super::operations::OWNERS;

/// What becomes of a file: of a document, or of each of its lines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    Receipt(String),
    Reason(String),
    Lines(Vec<String>),
}

/// A document that may be delivered again.
#[derive(Clone, Debug)]
pub(super) struct Delivered {
    pub(super) text: String,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Create,
    Update { owner: usize, token: String },
    Delete,
    Rejected { kind: &'static str },
}

#[derive(Debug, Default)]
pub(super) struct Model {
    /// Each outcome with its file's name: as many as were delivered.
    pub(super) outcomes: Vec<(String, End)>,
    /// The names of the creates of each owner, in order of arrival.
    pub(super) created: [Vec<String>; OWNERS],
    /// The names of those that were written in place, whose order is not told.
    pub(super) created_in_place: Vec<String>,
    /// What the last update of each owner's own authentication put there.
    pub(super) updated: BTreeMap<usize, String>,
    /// What was delivered, in order.
    pub(super) delivered: Vec<Delivered>,
}

impl Model {
    /// A document is delivered for the first time.
    pub(super) fn first(&mut self, name: &str, delivered: Delivered) {
        let end = match &delivered.what {
            What::Create => End::Receipt("created".to_owned()),
            What::Update { owner, token } => {
                self.updated.insert(*owner, token.clone());
                End::Receipt("updated".to_owned())
            }
            What::Delete => End::Receipt("deleted".to_owned()),
            What::Rejected { kind } => End::Reason((*kind).to_owned()),
        };
        self.outcomes.push((name.to_owned(), end));
        self.delivered.push(delivered);
    }

    /// It is delivered again: done again only if another update came between, and refused again if it was.
    pub(super) fn again(&mut self, name: &str, delivered: Delivered) {
        let is_done = match &delivered.what {
            What::Create | What::Delete => true,
            What::Update { owner, token } => self.updated.get(owner) == Some(token),
            What::Rejected { .. } => false,
        };
        if is_done {
            self.outcomes.push((name.to_owned(), End::Receipt("duplicate".to_owned())));
        } else {
            self.first(name, delivered);
        }
    }
}
