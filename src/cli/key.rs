//! `trayvault key`: the vault's key slots, and the rotation of its keys.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, Subcommand};
use hyper::Method;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Configured, Connected, Failure, api, init, output};
use crate::{
    config::{Config, Unlock},
    crypto::Argon2Params,
    offline::{self, SlotKind, SlotSummary},
    status::Posted,
};

/// How often `--wait` looks how far re-sealing is.
const POLL: Duration = Duration::from_millis(100);

#[derive(Subcommand)]
pub(super) enum Command {
    /// Show the vault's key slots
    List(ListArguments),
    /// Add a key slot; the key that vault.unlock names has to fit
    Add(AddArguments),
    /// Remove a key slot; the key that vault.unlock names has to fit, and be another one's
    Remove(RemoveArguments),
    /// Seal with a new key from now on, and everything that is sealed again in the background
    Rotate(RotateArguments),
}

#[derive(Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    configured: Configured,
    /// Print the slots as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(group = ArgGroup::new("key").required(true))]
pub(super) struct AddArguments {
    #[command(flatten)]
    configured: Configured,
    /// A file of 32 random bytes; made if it is not there
    #[arg(long, value_name = "FILE", group = "key")]
    key_file: Option<PathBuf>,
    /// A systemd credential of 32 random bytes
    #[arg(long, value_name = "NAME", group = "key")]
    key_credential: Option<String>,
    /// A file with a passphrase
    #[arg(long, value_name = "FILE", group = "key")]
    passphrase_file: Option<PathBuf>,
    /// A systemd credential with a passphrase
    #[arg(long, value_name = "NAME", group = "key")]
    passphrase_credential: Option<String>,
    /// A passphrase, asked for on the terminal
    #[arg(long, group = "key")]
    prompt: bool,
    /// Print what was made as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct RemoveArguments {
    #[command(flatten)]
    configured: Configured,
    /// The slot's id
    slot: Uuid,
}

#[derive(Args)]
pub(super) struct RotateArguments {
    #[command(flatten)]
    connected: Connected,
    /// Wait until everything is sealed with the new key, and the earlier one destroyed
    #[arg(long)]
    wait: bool,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::List(arguments) => list(arguments),
        Command::Add(arguments) => add(arguments),
        Command::Remove(RemoveArguments { configured, slot }) => {
            offline::remove_key(&load(configured)?, *slot).map_err(|error| init::failure(&error))?;
            output::line(&format!("removed the key slot {slot}"))
        }
        Command::Rotate(arguments) => rotate(arguments),
    }
}

fn load(configured: &Configured) -> Result<Config, Failure> {
    Config::load(&configured.config).map_err(|error| init::failure(&error.into()))
}

fn list(arguments: &ListArguments) -> Result<(), Failure> {
    let config = load(&arguments.configured)?;
    let slots = offline::slots(&config).map_err(|error| init::failure(&error))?;
    if arguments.json {
        return output::json(&slots);
    }
    let mut table = output::Rows::new(["slot", "opened by"]);
    table.keep_whole(&[0]);
    for SlotSummary { id, kind } in slots {
        let by = match kind {
            SlotKind::RawKey => "a key of 32 bytes: a file or a credential".to_owned(),
            SlotKind::Passphrase { argon2id: Argon2Params { memory_kib, passes, lanes } } => {
                format!("a passphrase (Argon2id, {} MiB, t={passes}, p={lanes})", memory_kib / 1024)
            }
        };
        table.add([&id.to_string(), &by]);
    }
    table.print()
}

fn add(arguments: &AddArguments) -> Result<(), Failure> {
    let config = load(&arguments.configured)?;
    let added = offline::add_key(&config, &named(arguments)).map_err(|error| init::failure(&error))?;
    if arguments.json {
        return output::json(&added);
    }
    if let Some(path) = &added.key_file {
        output::line(&format!("made the key {}", path.display()))?;
        output::line("keep a copy of it elsewhere")?;
    }
    output::line(&format!("added the key slot {}", added.slot))
}

/// The key that the arguments name, as the configuration would.
fn named(arguments: &AddArguments) -> Unlock {
    let AddArguments { key_file, key_credential, passphrase_file, passphrase_credential, .. } = arguments;
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    None.or(key_file.as_ref().map(|path| Unlock::KeyFile(absolute(path))))
        .or(key_credential.clone().map(Unlock::KeyCredential))
        .or(passphrase_file.as_ref().map(|path| Unlock::PassphraseFile(absolute(path))))
        .or(passphrase_credential.clone().map(Unlock::PassphraseCredential))
        .unwrap_or(Unlock::Prompt)
}

fn rotate(arguments: &RotateArguments) -> Result<(), Failure> {
    #[derive(Serialize, Deserialize)]
    struct Rotated {
        epoch: u32,
    }
    let Rotated { epoch } = api::ask(&arguments.connected, Method::POST, "/v1/keys/rotate")?;
    output::line(&format!("epoch {epoch} has begun: what is sealed from now on is sealed with its key"))?;
    if !arguments.wait {
        return output::line("earlier records are re-sealed in the background: trayvault status shows how far it is");
    }
    let style =
        ProgressStyle::with_template("re-sealing {bar:40} {pos} of {len} records").map_err(std::io::Error::other)?;
    let bar = ProgressBar::new(0).with_style(style);
    loop {
        let posted: Posted = api::ask(&arguments.connected, Method::GET, "/v1/status")?;
        let Some(resealing) = posted.resealing else { break };
        bar.set_length(resealing.total);
        bar.set_position(resealing.done);
        std::thread::sleep(POLL);
    }
    bar.finish_and_clear();
    output::line("everything is sealed with the new key, and the earlier one is destroyed")
}
