//! `trayvault check`.

use clap::Args;

use super::{Code, Configured, Failure, output};
use crate::check::{self, Finding, Standing};

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) configured: Configured,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let findings = check::check(&arguments.configured.config)
        .map_err(|error| Failure::of(Code::Config, &error).hint(error.hint()))?;
    show(arguments, &findings)?;
    let hint = "each that is WRONG has its own hint".to_owned();
    match findings.iter().filter(|finding| finding.standing == Standing::Bad).count() {
        0 => Ok(()),
        1 => Err(Failure::new(Code::Config, "the daemon would not start: one of these is wrong").hint(hint)),
        bad => {
            Err(Failure::new(Code::Config, format!("the daemon would not start: {bad} of these are wrong")).hint(hint))
        }
    }
}

/// Prints findings as they are asked for.
pub(super) fn show(arguments: &Arguments, findings: &[Finding]) -> Result<(), Failure> {
    if arguments.json {
        return output::json(&findings);
    }
    let mut table = output::Rows::new(["", "what", "found"]);
    for finding in findings {
        let mark = match finding.standing {
            Standing::Good => "ok",
            Standing::Note => "note",
            Standing::Bad => "WRONG",
        };
        let hint = finding.hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        table.add([mark, finding.subject, &format!("{}{hint}", finding.detail)]);
    }
    table.print()
}
