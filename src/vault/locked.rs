//! A vault at rest, and what a right key makes of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::header::{Epoch, Header, MAX_LEN, MAX_SLOTS};
use super::keyring::{IsLocked, Keyring, Keys};
use super::slots::{NewSlot, Slot, SlotSummary, UnlockKey};
use crate::crypto::{self, CryptoError};
use crate::secret::Key;
use crate::system::files::{self, FileError};

/// The header's name in the vault's directory.
pub const FILE_NAME: &str = "vault.json";

/// A vault can't be made, read or unlocked.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// There is no vault in the directory.
    #[error("no vault in {}", .0.display())]
    Missing(PathBuf),
    /// There is a vault in the directory already; it wasn't touched.
    #[error("there is a vault in {} already", .0.display())]
    Exists(PathBuf),
    /// The header or its directory can't be used or trusted.
    #[error("can't use the vault's header")]
    File(#[from] FileError),
    /// The header isn't one.
    #[error("vault.json is malformed at line {line}, column {column}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// The header is of another format: one that a later program wrote.
    #[error("vault.json has format {found}, which this program doesn't know")]
    Format {
        /// Its format.
        found: u32,
    },
    /// There are none of these, too many, or not in order.
    #[error("the vault's {0} are out of bounds")]
    Bounds(&'static str),
    /// The slot is the last one: without it nobody could unlock the vault any more.
    #[error("it is the last key slot")]
    LastSlot,
    /// There is no such slot.
    #[error("there is no key slot {0}")]
    NoSuchSlot(Uuid),
    /// The slot is the one that the vault was just unlocked by.
    #[error("key slot {0} is the one that this key opens")]
    InUse(Uuid),
    /// An earlier rotation is still re-sealing.
    #[error("the last rotation is not through yet")]
    Rotating,
    /// The vault is locked.
    #[error(transparent)]
    IsLocked(#[from] IsLocked),
    /// The header is not the one that the root key committed to last.
    #[error("vault.json was changed by somebody without the vault's keys")]
    Altered,
    /// The vault in the directory is not the one that the daemon works on.
    #[error("the vault in {} is another one", .0.display())]
    Another(PathBuf),
    /// An empty passphrase protects nothing.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    /// No slot opens with the key. It says the same for a wrong key of any kind and for an altered header,
    /// so that nobody learns which slots there are or how near a guess came.
    #[error("no key slot opens with this key")]
    WrongKey,
    /// A key couldn't be made or derived.
    #[error("can't derive the vault's keys")]
    Crypto(#[from] CryptoError),
}

/// A vault whose header was read and whose root key is still wrapped.
pub struct Locked {
    header: Header,
}

impl Locked {
    /// Reads the header of the vault in `dir`. Nothing is derived yet, and nothing written.
    ///
    /// # Errors
    /// [`VaultError::Missing`] when there is none; others when it is not trusted, or asks for absurd work.
    pub fn open(dir: &Path) -> Result<Self, VaultError> {
        Ok(Self { header: read(dir)? })
    }

    /// The key slots.
    pub fn slots(&self) -> Vec<SlotSummary> {
        self.header.slots.iter().map(Slot::summary).collect()
    }

    /// Tries each slot of the key's kind. For a passphrase this takes Argon2id's time and memory for each, and
    /// must not run where others wait.
    ///
    /// # Errors
    /// [`VaultError::WrongKey`], and no more than that, when none opens or the header was altered.
    pub fn unlock(self, key: &UnlockKey) -> Result<Unlocked, VaultError> {
        for slot in &self.header.slots {
            if let Some(root) = slot.unwrap(self.header.vault, key)?
                && self.header.is_committed_to_by(&root)
            {
                let opened_by = slot.id;
                return Ok(Unlocked { header: self.header, root, opened_by });
            }
        }
        Err(VaultError::WrongKey)
    }
}

pub(super) fn read(dir: &Path) -> Result<Header, VaultError> {
    match files::read_private(&dir.join(FILE_NAME), MAX_LEN) {
        Ok(json) => Header::parse(&json),
        Err(error) if error.is_missing() => Err(VaultError::Missing(dir.to_owned())),
        Err(error) => Err(error.into()),
    }
}

/// Makes a vault in `dir` (created where it is missing), which each of `slots` unlocks.
///
/// # Errors
/// [`VaultError::Exists`] when there is one; its header isn't touched.
pub fn create(dir: &Path, slots: &[NewSlot<'_>]) -> Result<Unlocked, VaultError> {
    if !(1..=MAX_SLOTS).contains(&slots.len()) {
        return Err(VaultError::Bounds("key slots"));
    }
    if slots.iter().any(is_empty) {
        return Err(VaultError::EmptyPassphrase);
    }
    files::private_directory(dir)?;
    let path = dir.join(FILE_NAME);
    // Said before the work; `create_new` is what makes it certain.
    if path.symlink_metadata().is_ok() {
        return Err(VaultError::Exists(dir.to_owned()));
    }

    let vault = uuid::Builder::from_random_bytes(crypto::random()?).into_uuid();
    let root = crypto::random_key()?;
    let wrap = |slot| Slot::wrap(vault, &root, slot);
    let slots = slots.iter().map(wrap).collect::<Result<Vec<_>, _>>()?;
    let opened_by = slots[0].id;
    let header = Header::new(vault, vec![Epoch::random(1)?], slots, &root);
    match files::create_new(&path, &header.to_json(), 0o600) {
        Ok(()) => Ok(Unlocked { header, root, opened_by }),
        Err(error) if error.is_already_there() => Err(VaultError::Exists(dir.to_owned())),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn is_empty(slot: &NewSlot<'_>) -> bool {
    matches!(slot, NewSlot::Passphrase { passphrase, .. } if passphrase.expose_secret().is_empty())
}

/// A vault whose root key is at hand, and vouches for the header.
pub struct Unlocked {
    pub(super) header: Header,
    pub(super) root: Key,
    pub(super) opened_by: Uuid,
}

impl Unlocked {
    /// The vault's id: random, not secret, and bound into everything that is sealed.
    pub fn vault_id(&self) -> Uuid {
        self.header.vault
    }

    /// The key of the audit log's chain, which stays the same across epochs.
    pub fn audit_key(&self) -> Key {
        self.derive("trayvault v1 audit")
    }

    /// The key by which a backup vouches for what is in it; the same across epochs.
    pub fn backup_key(&self) -> Key {
        self.derive("trayvault v1 backup")
    }

    fn derive(&self, label: &str) -> Key {
        crypto::hkdf_sha256(&self.root, self.header.vault.as_bytes(), label)
    }

    /// The keys that a daemon works with.
    pub fn into_keyring(self) -> Arc<Keyring> {
        Arc::new(Keyring::new(self.vault_id(), self.into_keys()))
    }

    pub(super) fn into_keys(self) -> Keys {
        let Self { header, root, .. } = self;
        Keys::derive(root, header.vault, &header.epochs)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::*;
    use crate::crypto::Argon2Params;
    use crate::secret::SecretBytes;
    use crate::vault::Place;

    const QUICK: Argon2Params = Argon2Params { memory_kib: 8 * 1024, passes: 1, lanes: 1 };
    const PLACE: Place<'static> = Place { table: "t", column: "c", record: b"r", revision: 1, times: &[] };

    fn raw(byte: u8) -> Key {
        crypto::tests::key(&[byte; 32])
    }

    fn passphrase(text: &str) -> SecretBytes {
        SecretBytes::new(text.as_bytes().to_vec())
    }

    /// A vault with a passphrase slot (`open sesame`) and a raw-key slot (all sevens).
    fn vault() -> (TempDir, Unlocked) {
        let dir = tempfile::tempdir().unwrap();
        let slots = [
            NewSlot::Passphrase { passphrase: &passphrase("open sesame"), params: QUICK },
            NewSlot::Raw { key: &raw(7) },
        ];
        let unlocked = create(dir.path(), &slots).unwrap();
        (dir, unlocked)
    }

    fn unlock(dir: &TempDir, key: &UnlockKey) -> Result<Unlocked, VaultError> {
        Locked::open(dir.path())?.unlock(key)
    }

    fn edit(dir: &TempDir, change: impl FnOnce(&mut Value)) {
        let path = dir.path().join(FILE_NAME);
        let mut header = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut header);
        fs::write(&path, serde_json::to_vec(&header).unwrap()).unwrap();
    }

    #[test]
    fn every_slot_unlocks_the_same_vault() {
        let (dir, created) = vault();
        let (id, audit) = (created.vault_id(), created.audit_key());
        let sealed = created.into_keys().seal(&PLACE, b"plaintext").unwrap();
        for key in [UnlockKey::Passphrase(passphrase("open sesame")), UnlockKey::Raw(raw(7))] {
            let unlocked = unlock(&dir, &key).unwrap();
            assert_eq!(unlocked.vault_id(), id);
            assert_eq!(unlocked.audit_key().expose_secret(), audit.expose_secret());
            let opened = unlocked.into_keys().open(&PLACE, &sealed).unwrap();
            assert_eq!(opened.expose_secret(), b"plaintext");
        }
    }

    #[test]
    fn a_wrong_key_says_the_same_for_every_kind_and_leaves_every_byte() {
        let (dir, _) = vault();
        let before = fs::read(dir.path().join(FILE_NAME)).unwrap();
        let wrong = [UnlockKey::Passphrase(passphrase("open sesam")), UnlockKey::Raw(raw(8))];
        let said = wrong.map(|key| format!("{:?}", unlock(&dir, &key).err().unwrap()));
        assert_eq!(said, ["WrongKey", "WrongKey"]);
        assert_eq!(fs::read(dir.path().join(FILE_NAME)).unwrap(), before);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_of_a_kind_without_slots_is_a_wrong_key() {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), &[NewSlot::Raw { key: &raw(7) }]).unwrap();
        let key = UnlockKey::Passphrase(passphrase("open sesame"));
        assert!(matches!(unlock(&dir, &key), Err(VaultError::WrongKey)));
    }

    #[test]
    fn the_header_is_private_and_holds_no_key() {
        let (dir, unlocked) = vault();
        let path = dir.path().join(FILE_NAME);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("sesame"));
        let header: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(header["vault"], json!(unlocked.vault_id()));
        assert_eq!(header["slots"][0]["key"]["kind"], "passphrase");
        assert_eq!(header["slots"][0]["key"]["argon2id"]["memory_kib"], 8192);
        assert_eq!(header["slots"][1]["key"], json!({"kind": "raw-key"}));
    }

    #[test]
    fn an_existing_vault_is_never_replaced() {
        let (dir, _) = vault();
        let before = fs::read(dir.path().join(FILE_NAME)).unwrap();
        let again = create(dir.path(), &[NewSlot::Raw { key: &raw(9) }]);
        assert!(matches!(again, Err(VaultError::Exists(_))));
        assert_eq!(fs::read(dir.path().join(FILE_NAME)).unwrap(), before);
    }

    #[test]
    fn a_vault_needs_a_slot_and_a_passphrase_something_in_it() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(create(dir.path(), &[]), Err(VaultError::Bounds("key slots"))));
        let empty = NewSlot::Passphrase { passphrase: &passphrase(""), params: QUICK };
        assert!(matches!(create(dir.path(), &[empty]), Err(VaultError::EmptyPassphrase)));
        assert!(matches!(Locked::open(dir.path()), Err(VaultError::Missing(_))));
    }

    #[test]
    fn absurd_costs_are_refused_before_anything_runs() {
        for (name, absurd) in [("memory_kib", u32::MAX), ("memory_kib", 8), ("passes", 1_000_000)] {
            let (dir, _) = vault();
            edit(&dir, |header| header["slots"][0]["key"]["argon2id"][name] = json!(absurd));
            let refused = Locked::open(dir.path());
            assert!(matches!(refused, Err(VaultError::Crypto(CryptoError::Argon2Bounds(_)))), "{name} {absurd}");
        }
    }

    #[test]
    fn changed_costs_open_nothing() {
        let (dir, _) = vault();
        edit(&dir, |header| header["slots"][0]["key"]["argon2id"]["passes"] = json!(2));
        let key = UnlockKey::Passphrase(passphrase("open sesame"));
        assert!(matches!(unlock(&dir, &key), Err(VaultError::WrongKey)));
    }

    #[test]
    fn an_altered_header_is_refused_though_the_key_is_right() {
        let changes: [fn(&mut Value); 6] = [
            |header| header["vault"] = json!(Uuid::from_bytes([1; 16])),
            |header| header["epochs"][0]["number"] = json!(2),
            |header| header["epochs"][0]["salt"] = header["slots"][0]["salt"].clone(),
            |header| header["slots"].as_array_mut().unwrap().swap(0, 1),
            |header| drop(header["slots"].as_array_mut().unwrap().remove(0)),
            |header| header["commitment"] = header["slots"][0]["salt"].clone(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let (dir, _) = vault();
            edit(&dir, change);
            let refused = unlock(&dir, &UnlockKey::Raw(raw(7)));
            assert!(matches!(refused, Err(VaultError::WrongKey)), "change {number}");
        }
    }

    #[test]
    fn a_header_that_is_not_one_is_refused() {
        let changes: [fn(&mut Value); 6] = [
            |header| header["extra"] = json!(1),
            |header| header["slots"][0]["extra"] = json!(1),
            |header| header["slots"][1]["key"]["extra"] = json!(1),
            |header| header["slots"][0]["key"]["kind"] = json!("unknown"),
            |header| header["slots"][0]["salt"] = json!("c2hvcnQ="),
            |header| *header = json!({ "format": 1 }),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let (dir, _) = vault();
            edit(&dir, change);
            let refused = Locked::open(dir.path());
            assert!(matches!(refused, Err(VaultError::Malformed { .. })), "change {number}");
        }
    }

    #[test]
    fn a_header_of_a_later_format_or_without_bounds_is_refused() {
        let (dir, _) = vault();
        edit(&dir, |header| header["slots"] = json!([]));
        assert!(matches!(Locked::open(dir.path()), Err(VaultError::Bounds("key slots"))));
        edit(&dir, |header| *header = json!({ "format": 2, "novelty": true }));
        assert!(matches!(Locked::open(dir.path()), Err(VaultError::Format { found: 2 })));
        fs::write(dir.path().join(FILE_NAME), vec![b' '; 65 * 1024]).unwrap();
        let refused = Locked::open(dir.path());
        assert!(matches!(refused, Err(VaultError::File(FileError::TooLarge { .. }))));
    }

    #[test]
    fn a_header_that_others_may_read_is_refused() {
        let (dir, _) = vault();
        let path = dir.path().join(FILE_NAME);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let Err(VaultError::File(error)) = Locked::open(dir.path()) else {
            panic!("refused as a file");
        };
        assert_eq!(error.hint().unwrap(), format!("chmod 600 {}", path.display()));
    }
}
