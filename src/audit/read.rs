//! Reading entries: all that the log has, and only as long as they are as they were written.

use std::{
    io::{self, BufRead, BufReader},
    path::Path,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    piece::Line,
    segment::FILE_NAME,
    verify::{Fault, MAC_LEN, Open, Place, VerifyError, open_all},
};
use crate::{crypto::with_macs, secret::Key, system::stack::DEEP};

/// An entry, as a person or a program asks for it. docs/audit.md says what each member is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its sequence number.
    pub seq: u64,
    /// When it was written.
    pub time: Timestamp,
    /// What was done.
    pub action: String,
    /// How it ended.
    pub outcome: String,
    /// Why it ended so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The rule that decided it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Who asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<By>,
    /// Of which authentication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<String>,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What it is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of which dropped document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
    /// Under which request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// How often, or how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// A local caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// The systemd unit, where the kernel could tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// Gives each entry to `each`, the oldest first, once it is checked. What is wrong with the first that is not as it was
/// written, if there is one: what comes after it is not read.
///
/// # Errors
/// [`VerifyError`], or what `each` gives.
pub fn read<E: From<VerifyError>>(
    key: &Key,
    directory: &Path,
    mut each: impl FnMut(Record) -> Result<(), E>,
) -> Result<Option<(Place, Fault)>, E> {
    let failed = |error: io::Error| E::from(error.into());
    let (stub, files) = open_all(key, directory)?;
    let removed = stub.as_ref().map_or(0, |stub| stub.last);
    let (mut previous, mut last) = (stub.map_or(Some([0; MAC_LEN]), |stub| stub.mac()), removed);
    let grows = files.last().is_some_and(|file| file.name == FILE_NAME);
    for Open { name, file, .. } in files {
        let mut file = BufReader::new(file);
        let (mut text, mut number) = (Vec::new(), 0);
        loop {
            text.clear();
            if file.read_until(b'\n', &mut text).map_err(failed)? == 0 {
                break;
            }
            number += 1;
            let at = Place { file: name.clone(), line: number, sequence: last + 1 };
            let line = match Line::read(&text) {
                Ok(line) => line,
                // The daemon may be in the middle of it.
                Err(Fault::Torn) => break,
                Err(fault) => return Ok(Some((at, fault))),
            };
            if let Err(fault) = with_macs::<DEEP, _, _>([key], |[macs]| line.check(macs, previous.as_ref(), Some(last)))
            {
                return Ok(Some((at, fault)));
            }
            let Ok(record) = serde_json::from_slice(&text) else { return Ok(Some((at, Fault::NotAnEntry))) };
            (previous, last) = (Some(line.mac), line.sequence);
            each(record)?;
        }
    }
    let gone = || (Place { file: FILE_NAME.to_owned(), line: 1, sequence: last + 1 }, Fault::Empty);
    Ok((!grows).then(gone))
}
