//! `trayvault sync`.

use clap::Args;
use hyper::Method;

use super::{Code, Connected, Failure, api, output, status};
use crate::status::CycleReport;

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connected: Connected,
    /// Let it remove more than a synchronisation may remove unasked: Tray is right
    #[arg(long)]
    confirm_removals: bool,
    /// Print the daemon's report as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let query = if arguments.confirm_removals { "?confirm_removals=true" } else { "" };
    let report: CycleReport = api::ask(&arguments.connected, Method::POST, &format!("/v1/sync{query}"))?;
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
