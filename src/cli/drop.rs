//! `trayvault drop`: delivers a document, sealed.

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;

use super::{
    Code, Connected, Failure,
    input::{Input, STDIN},
    output, plan, recipient, seal,
};
use crate::{
    config::Config,
    requests::ingest::holds_many,
    system::{
        delivery::{Delivery, Name},
        files::FileError,
    },
};

/// The delivery contract. At most 80 columns.
const CONTRACT: &str = "\
How a file is delivered:
  Write it under a name that begins with a dot, or in the drop directory's tmp/,
  then rename it into place: in one step, so that nobody sees half of it. This
  command does so, and seals the content to the vault first, so that it is never
  on the disk in the clear.
  A file that appears in place counts only when its writer has closed it, its
  size and times are at rest, and the document parses.

What becomes of NAME, in the drop directory:
  done/NAME.receipt.json     it was done: what, and to which authentication
  rejected/NAME.reason.json  it was refused: why, without any value of it
  rejected/NAME              and the file itself, sealed to the vault
  Neither, and it waits: trayvault ingest list says for what.
  docs/drop-files.md describes the documents, and all of this.";

#[derive(Args)]
#[command(after_help = CONTRACT)]
pub(super) struct Arguments {
    #[command(flatten)]
    connected: Connected,
    /// The document, sealed or not; - for standard input
    file: PathBuf,
    /// The name to deliver it under, instead of the file's own
    #[arg(long)]
    name: Option<String>,
    /// To whom to seal (age1…), instead of asking the daemon
    #[arg(long)]
    recipient: Option<String>,
    /// The drop directory, instead of the configuration's
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Deliver nothing: show what would be done
    #[arg(long, conflicts_with_all = ["recipient", "directory"])]
    plan: bool,
    /// Print what was done, or would be, as JSON
    #[arg(long)]
    json: bool,
}

/// What was done.
#[derive(Serialize)]
struct Dropped {
    name: String,
    /// Where its receipt will be.
    receipt: PathBuf,
    /// Where the reason will be if it is refused.
    reason: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { connected, file, name, recipient, directory, plan, json } = arguments;
    if *plan {
        let name = name.as_deref().or_else(|| file.to_str()).unwrap_or_default();
        return plan::run(connected, file, holds_many(name), *json);
    }
    let name = deliver_as(file, name.as_deref())?;
    let directory = match directory {
        Some(directory) => directory.clone(),
        None => configured(connected)?,
    };
    let input = Input::open(file)?;
    // Whoever sealed it already has chosen for whom.
    let recipient = if input.is_sealed() { None } else { Some(recipient::find(recipient.as_deref(), connected)?) };
    let mut delivery = Delivery::begin(&directory).map_err(|error| failure(&error))?;
    let mut reader = input.into_reader();
    match recipient {
        Some(recipient) => recipient.seal_from(reader, delivery.file()).map_err(|error| seal::failure(&error))?,
        None => drop(io::copy(&mut reader, delivery.file())?),
    }
    delivery.deliver(&name).map_err(|error| failure(&error))?;
    let dropped = Dropped {
        receipt: directory.join("done").join(format!("{name}.receipt.json")),
        reason: directory.join("rejected").join(format!("{name}.reason.json")),
        name: name.to_string(),
    };
    if *json {
        return output::json(&dropped);
    }
    output::line(&format!("dropped {name}, sealed"))?;
    output::line(&format!("its receipt will be {}", dropped.receipt.display()))?;
    output::line(&format!("or, if it is refused, the reason {}", dropped.reason.display()))
}

fn deliver_as(file: &Path, given: Option<&str>) -> Result<Name, Failure> {
    let hint = "give it one with --name, such as --name acme.json".to_owned();
    let name = match given {
        Some(given) => given,
        None if file == Path::new(STDIN) => {
            return Err(Failure::new(Code::Usage, "standard input has no name to deliver it under").hint(hint));
        }
        None => file.file_name().and_then(|name| name.to_str()).unwrap_or_default(),
    };
    name.parse().map_err(|error| Failure::of(Code::Usage, &error).hint(hint))
}

fn configured(connected: &Connected) -> Result<PathBuf, Failure> {
    let config = Config::load(&connected.configured.config)
        .map_err(|error| Failure::of(Code::Config, &error).hint(error.hint()))?;
    config.ingest.directory.ok_or_else(|| {
        Failure::new(Code::Config, "the configuration names no drop directory")
            .hint("set ingest.directory, or give --directory DIR".to_owned())
    })
}

fn failure(error: &FileError) -> Failure {
    if error.is_already_there() {
        return Failure::new(Code::CantCreate, "something of that name is in the drop directory already")
            .hint("give it another name, with --name NAME".to_owned());
    }
    let hint = if error.is_missing() {
        Some("the daemon makes the directory, and tmp/ in it, when it starts: trayvault run".to_owned())
    } else {
        error.hint()
    };
    Failure::of(Code::CantCreate, error).hint(hint)
}
