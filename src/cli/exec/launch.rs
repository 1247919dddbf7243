//! Starting the command, with what it was given and nothing else of ours: no other descriptor, no variable.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    path::PathBuf,
    process::Command,
};

use rustix::io::Errno;

use super::{
    super::{Code, Failure},
    wanted::{Form, Wanted},
};
use crate::{
    secret::SecretBytes,
    system::{child, memfd, volatile::Volatile},
};

/// Our own variables.
const OURS: &[u8] = b"TRAYVAULT_";

/// Puts the command in our place. It returns if that can't be done.
pub(super) fn in_our_place(command: &[OsString], wanted: &[Wanted], values: Vec<SecretBytes>) -> Failure {
    match prepare(command, wanted, &values, None) {
        Ok(mut prepared) => {
            drop(values);
            cannot_run(&prepared.exec(), command)
        }
        Err(failure) => failure,
    }
}

/// The command with all that it gets. What std keeps copies of is wiped with it, by the allocator.
pub(super) fn prepare(
    command: &[OsString],
    wanted: &[Wanted],
    values: &[SecretBytes],
    directory: Option<&Volatile>,
) -> Result<Command, Failure> {
    let mut prepared = Command::new(command.first().map(OsString::as_os_str).unwrap_or_default());
    prepared.args(command.iter().skip(1));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_bytes().starts_with(OURS)) {
        prepared.env_remove(name);
    }
    let mut inherited: Vec<OwnedFd> = Vec::new();
    for (Wanted { form, name, .. }, value) in wanted.iter().zip(values) {
        match (form, directory) {
            (Form::Variable, _) => {
                prepared.env(name, OsStr::from_bytes(value.expose_secret()));
            }
            (Form::TmpfsFile, Some(directory)) => {
                prepared.env(name, write(directory, name, value)?);
            }
            (Form::File | Form::TmpfsFile, _) => {
                let file = memfd::sealed(name, value.expose_secret()).map_err(|error| cannot_write(name, &error))?;
                prepared.env(name, format!("/proc/self/fd/{}", file.as_raw_fd()));
                inherited.push(file);
            }
        }
    }
    child::inherit(&mut prepared, inherited);
    Ok(prepared)
}

/// Puts a value into its file on tmpfs.
pub(super) fn write(directory: &Volatile, name: &str, value: &SecretBytes) -> Result<OsString, Failure> {
    let written = directory.write(name, value.expose_secret()).map_err(|error| cannot_write(name, &error))?;
    Ok(written.into_os_string())
}

fn cannot_write(name: &str, error: &io::Error) -> Failure {
    Failure::new(Code::CantCreate, format!("the file for {name} can't be made: {error}"))
}

/// Codes as shells have them.
pub(super) fn cannot_run(error: &io::Error, command: &[OsString]) -> Failure {
    let name = command.first().map(|name| name.display().to_string()).unwrap_or_default();
    let code = if error.kind() == io::ErrorKind::NotFound { Code::NoCommand } else { Code::NotExecutable };
    let is_too_large = error.raw_os_error() == Some(Errno::TOOBIG.raw_os_error());
    let hint = is_too_large.then(|| "give large values with --file".to_owned());
    Failure::new(code, format!("can't run {name}: {error}")).hint(hint)
}

/// A private directory in memory.
pub(super) fn directory() -> Result<Volatile, Failure> {
    Volatile::create(places()).map_err(|error| {
        Failure::new(Code::CantCreate, format!("no private directory in memory can be made: {error}"))
            .hint("set XDG_RUNTIME_DIR to a directory of yours on tmpfs".to_owned())
    })
}

/// Where it may be made: the first is the session's or the service's own.
fn places() -> impl Iterator<Item = PathBuf> {
    let named = ["XDG_RUNTIME_DIR", "RUNTIME_DIRECTORY"].into_iter().filter_map(std::env::var_os);
    let named: Vec<PathBuf> = named.flat_map(|list| std::env::split_paths(&list).collect::<Vec<_>>()).collect();
    named.into_iter().chain(["/run".into(), "/dev/shm".into()]).filter(|path| path.is_absolute())
}
