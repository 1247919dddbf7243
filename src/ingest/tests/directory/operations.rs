//! What happens to the directory.

use proptest::{prelude::*, sample::Index};

/// One thing that happens. What it happens to is picked from what is there then, so that any of them can be left out.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    /// A file is delivered by a rename.
    Deliver(Delivery),
    /// The same under a name that was used before.
    DeliverUnderAnEarlierName(Delivery, Index),
    /// What was delivered before is delivered again.
    Copy(Index, Sealing),
    /// A create is written in place, and for now kept open.
    BeginInPlace,
    /// One of those is written to its end, and closed.
    EndInPlace(Index),
    /// A create is delivered and, if it is still there, taken back.
    TakeBack {
        after_ms: u64,
    },
    /// Something is dropped that is not a file of ours.
    Hostile(Hostile),
    /// The directory is removed, and made again, while nothing is in it.
    MakeAgain,
    /// Time goes by.
    Wait {
        ms: u64,
    },
    Stop,
    Crash,
    Start,
    /// The vault is locked for a while.
    Lock {
        ms: u64,
    },
}

#[derive(Clone, Debug)]
pub(super) enum Delivery {
    Create { owner: usize, sealing: Sealing },
    Update { owner: usize, sealing: Sealing },
    Delete { owner: usize },
    Invalid(Invalid),
    Lines(Vec<Line>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sealing {
    Clear,
    Sealed,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Line {
    Create { owner: usize },
    Invalid(Invalid),
    Blank,
}

/// What is wrong with a document.
#[derive(Clone, Copy, Debug)]
pub(super) enum Invalid {
    /// It ends early.
    Torn,
    UnknownKey,
    /// It breaks its service's schema, which is known only later.
    Schema,
    UnknownService,
    /// It updates what is not there.
    UnknownAuthentication,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Hostile {
    Symlink,
    Fifo,
    Directory,
    HardLink,
    GroupWritable,
    TooLarge,
}

/// Whose documents are delivered: of this many owners.
pub(super) const OWNERS: usize = 3;

pub(super) fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        9 => delivery().prop_map(Operation::Deliver),
        1 => (delivery(), any::<Index>()).prop_map(|(one, name)| Operation::DeliverUnderAnEarlierName(one, name)),
        2 => (any::<Index>(), sealing()).prop_map(|(one, sealing)| Operation::Copy(one, sealing)),
        1 => Just(Operation::BeginInPlace),
        2 => any::<Index>().prop_map(Operation::EndInPlace),
        1 => (0..400_u64).prop_map(|after_ms| Operation::TakeBack { after_ms }),
        2 => hostile().prop_map(Operation::Hostile),
        1 => Just(Operation::MakeAgain),
        2 => (0..500_u64).prop_map(|ms| Operation::Wait { ms }),
        1 => Just(Operation::Stop),
        2 => Just(Operation::Crash),
        2 => Just(Operation::Start),
        1 => (0..200_u64).prop_map(|ms| Operation::Lock { ms }),
    ];
    proptest::collection::vec(operation, 1..24)
}

fn delivery() -> impl Strategy<Value = Delivery> {
    prop_oneof![
        5 => (0..OWNERS, sealing()).prop_map(|(owner, sealing)| Delivery::Create { owner, sealing }),
        2 => (0..OWNERS, sealing()).prop_map(|(owner, sealing)| Delivery::Update { owner, sealing }),
        1 => (0..OWNERS).prop_map(|owner| Delivery::Delete { owner }),
        2 => invalid().prop_map(Delivery::Invalid),
        2 => proptest::collection::vec(line(), 0..5).prop_map(Delivery::Lines),
    ]
}

fn sealing() -> impl Strategy<Value = Sealing> {
    prop_oneof![3 => Just(Sealing::Clear), 1 => Just(Sealing::Sealed)]
}

fn line() -> impl Strategy<Value = Line> {
    prop_oneof![
        4 => (0..OWNERS).prop_map(|owner| Line::Create { owner }),
        1 => invalid().prop_map(Line::Invalid),
        1 => Just(Line::Blank),
    ]
}

fn invalid() -> impl Strategy<Value = Invalid> {
    prop_oneof![
        Just(Invalid::Torn),
        Just(Invalid::UnknownKey),
        Just(Invalid::Schema),
        Just(Invalid::UnknownService),
        Just(Invalid::UnknownAuthentication),
    ]
}

fn hostile() -> impl Strategy<Value = Hostile> {
    prop_oneof![
        Just(Hostile::Symlink),
        Just(Hostile::Fifo),
        Just(Hostile::Directory),
        Just(Hostile::HardLink),
        Just(Hostile::GroupWritable),
        Just(Hostile::TooLarge),
    ]
}
