//! `trayvault audit verify`.

use std::{io::IsTerminal, path::Path};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{Code, Failure, broken};
use crate::{
    audit::{Anchor, Found, Verdict},
    cli::{Configured, init, output},
    config::Config,
    offline,
};

#[derive(Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    configured: Configured,
    /// An entry that has to be there: SEQUENCE:MAC, or a file of such anchors as audit.anchor.file gets. May be given several
    /// times
    #[arg(long, value_name = "ANCHOR|FILE")]
    anchor: Vec<String>,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = Config::load(&arguments.configured.config).map_err(|error| init::failure(&error.into()))?;
    let anchors = arguments.anchor.iter().map(|given| anchors(given)).collect::<Result<Vec<_>, _>>()?.concat();
    let bar = bar();
    let progress = |read, all| {
        bar.set_length(all);
        bar.inc(read);
    };
    let verdict = offline::verify_audit(&config, &anchors, &progress);
    bar.finish_and_clear();
    let verdict = verdict?;
    if arguments.json {
        output::json(&Shown::from(&verdict))?;
    }
    match verdict {
        Verdict::Intact(_) if arguments.json => Ok(()),
        Verdict::Intact(found) => print(&found, anchors.len()),
        Verdict::Broken { at, fault, .. } => Err(broken(&at, fault)),
    }
}

fn print(found: &Found, anchors: usize) -> Result<(), Failure> {
    let Found { entries, files, removed, head } = found;
    let and = match anchors {
        0 => String::new(),
        1 => ", and the anchor's is among them".to_owned(),
        count => format!(", and those of {count} anchors are among them"),
    };
    let files = if *files == 1 { "one file".to_owned() } else { format!("{files} files") };
    output::line(&format!("the audit log is intact: {entries} entries in {files}{and}"))?;
    if *removed > 0 {
        output::line(&format!("{removed} entries before them were removed: they were older than they are kept"))?;
    }
    head.map_or(Ok(()), |head| output::line(&format!("its last entry: {head}")))
}

/// One, or those in a file.
fn anchors(given: &str) -> Result<Vec<Anchor>, Failure> {
    if let Ok(anchor) = given.parse() {
        return Ok(vec![anchor]);
    }
    let text = std::fs::read_to_string(Path::new(given)).map_err(|error| {
        Failure::new(Code::Usage, format!("{given:?} is no anchor, and no file that can be read: {error}"))
            .hint("an anchor is SEQUENCE:MAC, as trayvault audit verify prints it".to_owned())
    })?;
    Anchor::parse_lines(&text).map_err(|error| Failure::new(Code::Data, format!("a line of {given:?} is {error}")))
}

/// How much of the log is read, where somebody looks.
fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("verifying {wide_bar} {bytes} of {total_bytes}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[derive(Serialize)]
struct Shown {
    intact: bool,
    /// How many are as they were written, up to the fault.
    entries: u64,
    files: u64,
    removed: u64,
    head: Option<String>,
    file: Option<String>,
    line: Option<u64>,
    sequence: Option<u64>,
    fault: Option<String>,
}

impl From<&Verdict> for Shown {
    fn from(verdict: &Verdict) -> Self {
        let (found, broken) = match verdict {
            Verdict::Intact(found) => (found, None),
            Verdict::Broken { before, at, fault } => (before, Some((at, fault))),
        };
        Self {
            intact: broken.is_none(),
            entries: found.entries,
            files: found.files,
            removed: found.removed,
            head: found.head.map(|head| head.to_string()),
            file: broken.map(|(at, _)| at.file.clone()),
            line: broken.map(|(at, _)| at.line),
            sequence: broken.map(|(at, _)| at.sequence),
            fault: broken.map(|(_, fault)| fault.to_string()),
        }
    }
}
