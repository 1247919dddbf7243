//! `trayvault sync`.

use clap::Args;
use hyper::Method;

use super::{Code, Failure, Global, api, output, status};
use crate::status::CycleReport;

#[derive(Args)]
pub(super) struct Arguments {
    /// Print the daemon's report as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Result<(), Failure> {
    let report: CycleReport = api::ask(global, Method::POST, "/v1/sync")?;
    if arguments.json {
        output::json(&report)?;
    } else {
        output::line(&format!("synchronised: {}", status::describe(&report)))?;
    }
    match report.problems.first() {
        None => Ok(()),
        Some(problem) => Err(Failure::new(Code::Unavailable, problem.what.clone()).hint(problem.hint.clone())),
    }
}
