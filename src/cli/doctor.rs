//! `trayvault doctor`.

use super::{
    Code, Failure,
    check::{Arguments, show},
};
use crate::{check::Standing, doctor};

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let findings = doctor::doctor(&arguments.configured.config)
        .map_err(|error| Failure::of(Code::Config, &error).hint(error.hint()))?;
    show(arguments, &findings)?;
    match findings.iter().filter(|finding| finding.standing == Standing::Bad).count() {
        0 => Ok(()),
        bad => Err(Failure::new(Code::Config, format!("not all is well here: {bad} WRONG"))
            .hint("each that is WRONG has its own hint".to_owned())),
    }
}
