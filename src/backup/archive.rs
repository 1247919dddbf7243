//! The tar archive: members, then the manifest that has their hashes, then the manifest's MAC.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{BackupError, Manifest, Partial};
use crate::{
    audit,
    crypto::{hmac_sha256, hmac_sha256_matches},
    stores::{CACHE, JOURNAL},
    system::files,
    vault::{HEADER, Unlocked},
};

pub(super) const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
const MAC: &str = "manifest.mac";
/// The largest MAC or header that is read, in bytes.
pub(super) const SMALL: u64 = 64 * 1024;
/// The largest manifest that is read, in bytes: it has some 200 for every segment of the audit log.
const LARGEST_MANIFEST: u64 = 64 * 1024 * 1024;
/// The members that every backup has, in the order in which they are archived; earlier segments of the audit log follow.
const MEMBERS: [&str; 4] = [HEADER, audit::FILE_NAME, CACHE, JOURNAL];

/// A member, as the manifest has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Member {
    name: String,
    size: u64,
    /// In lower-case hexadecimal.
    sha256: String,
}

pub(super) fn archive(
    file: &mut File,
    partial: &Partial,
    manifest: &mut Manifest,
    unlocked: &Unlocked,
) -> io::Result<()> {
    let mut archive = tar::Builder::new(file);
    let mut names: Vec<_> = MEMBERS.map(str::to_owned).into();
    names.extend(audit::files_of_the_log(&partial.0)?.into_iter().filter(|name| name != audit::FILE_NAME));
    for name in &names {
        let mut member = Hashing::new(File::open(partial.path(name))?);
        let size = member.inner.metadata()?.len();
        append(&mut archive, name, size, &mut member)?;
        manifest.members.push(Member { name: name.clone(), size, sha256: member.hex() });
    }
    let json = serde_json::to_vec_pretty(&manifest)?;
    append(&mut archive, MANIFEST, json.len() as u64, json.as_slice())?;
    let mac = hmac_sha256(&unlocked.backup_key(), &[&json]);
    append(&mut archive, MAC, mac.len() as u64, mac.as_slice())?;
    archive.into_inner()?.flush()
}

fn append(archive: &mut tar::Builder<&mut File>, name: &str, size: u64, content: impl Read) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o600);
    archive.append_data(&mut header, name, content)
}

/// What came out of an archive. Nothing of it is believed yet.
pub(super) struct Unpacked {
    members: Vec<Member>,
    manifest: Vec<u8>,
    mac: Vec<u8>,
}

pub(super) fn unpack(path: &Path, partial: &Partial) -> Result<Unpacked, BackupError> {
    let unreadable = |source| BackupError::Io { path: path.to_owned(), what: "read", source };
    let wrong = |reason| BackupError::NotABackup { path: path.to_owned(), reason };
    let mut archive = tar::Archive::new(File::open(path).map_err(unreadable)?);
    let mut unpacked = Unpacked { members: Vec::new(), manifest: Vec::new(), mac: Vec::new() };
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(|_| wrong("it is not a tar archive, or not whole"))?;
        let name = entry.path().ok().and_then(|name| name.to_str().map(str::to_owned)).unwrap_or_default();
        if !entry.header().entry_type().is_file() {
            return Err(wrong("it has something in it that is not a file"));
        }
        match is_member(&name).then_some(&name) {
            Some(member) => {
                let mut content = Hashing::new(&mut entry);
                let mut size = 0;
                files::create_new_with(&partial.path(member), 0o600, |file| {
                    size = io::copy(&mut content, file)?;
                    Ok(())
                })?;
                unpacked.members.push(Member { name, size, sha256: content.hex() });
            }
            None if name == MANIFEST => unpacked.manifest = whole(&mut entry, LARGEST_MANIFEST).map_err(unreadable)?,
            None if name == MAC => unpacked.mac = whole(&mut entry, SMALL).map_err(unreadable)?,
            None => return Err(wrong("it has a file in it that backups have not")),
        }
    }
    let is_there = |name: &&str| unpacked.members.iter().any(|member| member.name == **name);
    if !MEMBERS.iter().all(is_there) || unpacked.mac.is_empty() {
        return Err(wrong("a part of it is missing"));
    }
    Ok(unpacked)
}

fn is_member(name: &str) -> bool {
    MEMBERS.contains(&name) || audit::is_of_the_log(name)
}

fn whole(entry: &mut impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    entry.take(limit).read_to_end(&mut content)?;
    Ok(content)
}

impl Unpacked {
    pub(super) fn verify(self, path: &Path, unlocked: &Unlocked) -> Result<Manifest, BackupError> {
        let changed = |reason| BackupError::Changed { path: path.to_owned(), reason };
        let mac = self.mac.as_slice().try_into().map_err(|_| changed("its MAC has another length"))?;
        if !hmac_sha256_matches(&unlocked.backup_key(), &[&self.manifest], &mac) {
            return Err(changed("its manifest does not fit its MAC"));
        }
        let manifest: Manifest =
            serde_json::from_slice(&self.manifest).map_err(|_| changed("its manifest is not of this format"))?;
        if manifest.format != FORMAT || manifest.vault != unlocked.vault_id() {
            return Err(changed("its manifest is of another format or vault"));
        }
        if manifest.members != self.members {
            return Err(changed("a file in it does not fit the manifest"));
        }
        Ok(manifest)
    }
}

/// Reads, and hashes what is read.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R> Hashing<R> {
    fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new() }
    }

    fn hex(self) -> String {
        crate::crypto::hex(&self.hash.finalize())
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}
