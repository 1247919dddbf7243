//! Changes of a vault's header: slots come and go, epochs begin and end. Each is one atomic replacement of `vault.json`:
//! a crash at any point leaves the header from before or the one from after.

use std::path::Path;

use uuid::Uuid;

use super::header::{Epoch, Header};
use super::keyring::{Keyring, Keys};
use super::locked::{FILE_NAME, Unlocked, VaultError, is_empty, read};
use super::slots::{NewSlot, Slot};
use crate::secret::Key;
use crate::system::files;

/// Held while the header is changed: the command line changes slots while a daemon changes epochs.
const LOCK_NAME: &str = "vault.lock";

impl Unlocked {
    /// Adds a slot to the vault in `dir`; its id. For a passphrase this takes Argon2id's time and memory.
    ///
    /// # Errors
    /// [`VaultError`]; the header is as it was.
    pub fn add_slot(&self, dir: &Path, new: &NewSlot<'_>) -> Result<Uuid, VaultError> {
        if is_empty(new) {
            return Err(VaultError::EmptyPassphrase);
        }
        let slot = Slot::wrap(self.vault_id(), &self.root, new)?;
        let id = slot.id;
        change(dir, &self.root, |header| {
            header.slots.push(slot);
            Ok(())
        })?;
        Ok(id)
    }

    /// Removes a slot from the vault in `dir`.
    ///
    /// # Errors
    /// [`VaultError::LastSlot`], [`VaultError::NoSuchSlot`]; [`VaultError::InUse`] for the one that this vault was
    /// unlocked by, without which whoever asks could not come back. The header is as it was.
    pub fn remove_slot(&self, dir: &Path, id: Uuid) -> Result<(), VaultError> {
        change(dir, &self.root, |header| {
            let at = header.slots.iter().position(|slot| slot.id == id).ok_or(VaultError::NoSuchSlot(id))?;
            if header.slots.len() == 1 {
                return Err(VaultError::LastSlot);
            }
            if id == self.opened_by {
                return Err(VaultError::InUse(id));
            }
            header.slots.remove(at);
            Ok(())
        })
        .map(drop)
    }
}

impl Keyring {
    /// Begins a new epoch in the vault in `dir`: what is sealed from now on is sealed with its key. Gives its number.
    ///
    /// # Errors
    /// [`VaultError::Rotating`] while there is an earlier epoch; others when the header can't be changed. Then the
    /// current epoch stays.
    pub fn rotate(&self, dir: &Path) -> Result<u32, VaultError> {
        let keys = self.keys()?;
        let header = change(dir, &keys.root, |header| match header.epochs.as_slice() {
            [only] => {
                let next = only.number.checked_add(1).ok_or(VaultError::Bounds("epochs"))?;
                header.epochs.push(Epoch::random(next)?);
                Ok(())
            }
            _ => Err(VaultError::Rotating),
        })?;
        self.put_epochs(&keys, &header)
    }

    /// Ends every epoch but the current one: their keys can't be derived any more.
    ///
    /// INVARIANT: nothing that is stored is sealed in them.
    ///
    /// # Errors
    /// The header can't be changed; the epochs stay then.
    pub fn retire_earlier_epochs(&self, dir: &Path) -> Result<u32, VaultError> {
        let keys = self.keys()?;
        let header = change(dir, &keys.root, |header| {
            let current = keys.epoch();
            header.epochs.retain(|epoch| epoch.number >= current);
            Ok(())
        })?;
        self.put_epochs(&keys, &header)
    }

    /// Unlocks again, with what the vault's header says now.
    ///
    /// # Errors
    /// [`VaultError::Another`]: it is another vault.
    pub fn unlock(&self, dir: &Path, unlocked: Unlocked) -> Result<(), VaultError> {
        if unlocked.vault_id() != self.vault_id() {
            return Err(VaultError::Another(dir.to_owned()));
        }
        self.put(unlocked.into_keys());
        Ok(())
    }

    fn put_epochs(&self, keys: &Keys, header: &Header) -> Result<u32, VaultError> {
        let new = Keys::derive(keys.root.duplicate(), self.vault_id(), &header.epochs);
        let epoch = new.epoch();
        self.exchange(new)?;
        Ok(epoch)
    }
}

/// Changes the header of the vault in `dir` under its lock, and commits to it with the root key. Gives the new one.
fn change(
    dir: &Path,
    root: &Key,
    edit: impl FnOnce(&mut Header) -> Result<(), VaultError>,
) -> Result<Header, VaultError> {
    let _alone = files::lock(&dir.join(LOCK_NAME))?;
    let mut header = read(dir)?;
    if !header.is_committed_to_by(root) {
        return Err(VaultError::Altered);
    }
    edit(&mut header)?;
    header.check_bounds()?;
    header.commit(root);
    files::replace(&dir.join(FILE_NAME), &header.to_json(), 0o600)?;
    Ok(header)
}
