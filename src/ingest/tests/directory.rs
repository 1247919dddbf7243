//! Whatever happens to the drop directory: what was delivered has one outcome each, of the right kind; Tray has what was
//! asked for, of each owner in the order of arrival; and nothing else is left, nowhere in the clear.

mod model;
mod operations;
mod stage;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use self::{operations::operations, stage::Stage};

/// Each is about two seconds; `PROPTEST_CASES` sets another number.
const CASES: u32 = 12;

#[test]
fn whatever_happens_to_the_directory_what_was_delivered_is_done_once_and_in_order() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    // A failing case costs the time in which one waits in vain, as often as it is made smaller.
    let config = Config { cases, failure_persistence: None, max_shrink_time: 120_000, ..Config::default() };
    let ran = TestRunner::new(config).run(&operations(), |operations| {
        let mut stage = Stage::new();
        for operation in operations {
            stage.play(operation);
        }
        stage.end().map_err(TestCaseError::fail)
    });
    if let Err(error) = ran {
        panic!("{error}");
    }
}
