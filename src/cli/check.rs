//! `trayvault check`.

use clap::Args;

use super::{Code, Failure, Global, output};
use crate::offline::{self, Finding, Standing};

#[derive(Args)]
pub(super) struct Arguments {
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    let findings =
        offline::check(&global.config).map_err(|error| Failure::of(Code::Config, &error).hint(error.hint()))?;
    if arguments.json {
        output::json(&findings)?;
    } else {
        print(&findings)?;
    }
    match findings.iter().filter(|finding| finding.standing == Standing::Bad).count() {
        0 => Ok(()),
        bad => Err(Failure::new(Code::Config, format!("the daemon would not start: {bad} of these are wrong"))),
    }
}

fn print(findings: &[Finding]) -> Result<(), Failure> {
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
