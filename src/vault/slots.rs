//! Key slots: each holds the root key, wrapped by a key of its own that a passphrase or a raw key gives.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::fields::Fields;
use super::header::Base64;
use crate::crypto::{self, Argon2Params, CryptoError, WRAPPED_LEN};
use crate::secret::{Key, SecretBytes};

/// What a person or the host presents to unlock the vault.
pub enum UnlockKey {
    /// For a passphrase slot.
    Passphrase(SecretBytes),
    /// For a raw-key slot: a key file or a systemd credential.
    Raw(Key),
}

impl UnlockKey {
    /// The slot that this key opens from then on.
    pub fn as_new_slot(&self) -> NewSlot<'_> {
        match self {
            Self::Passphrase(passphrase) => NewSlot::Passphrase { passphrase, params: Argon2Params::default() },
            Self::Raw(key) => NewSlot::Raw { key },
        }
    }
}

/// What a slot is to be made for.
pub enum NewSlot<'a> {
    /// A passphrase, stretched with Argon2id.
    Passphrase {
        /// The passphrase; not empty.
        passphrase: &'a SecretBytes,
        /// How hard it is to guess.
        params: Argon2Params,
    },
    /// A key with 256 bits of entropy, which needs no stretching.
    Raw {
        /// The key.
        key: &'a Key,
    },
}

/// A slot, as it may be shown. Nothing vouches for it until the vault is unlocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SlotSummary {
    /// Its id.
    pub id: Uuid,
    /// Which key opens it.
    #[serde(flatten)]
    pub kind: SlotKind,
}

/// Which kind of key opens a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum SlotKind {
    /// A passphrase, stretched at these costs.
    Passphrase {
        /// Argon2id's costs.
        argon2id: Argon2Params,
    },
    /// A key file or a credential with 256 bits of entropy.
    RawKey,
}

/// A slot as the header holds it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Slot {
    pub(super) id: Uuid,
    pub(super) key: SlotKey,
    salt: Base64<32>,
    wrapped: Base64<WRAPPED_LEN>,
}

/// How the wrapping key of a slot comes about.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum SlotKey {
    Passphrase { argon2id: Argon2Params },
    RawKey {},
}

impl Slot {
    pub(super) fn wrap(vault: Uuid, root: &Key, new: &NewSlot<'_>) -> Result<Self, CryptoError> {
        let id = uuid::Builder::from_random_bytes(crypto::random()?).into_uuid();
        // A salt of its own for each slot: a wrapping key wraps once, and AES-GCM's nonce can't repeat.
        let salt = Base64(crypto::random()?);
        let (key, wrapping) = match new {
            NewSlot::Passphrase { passphrase, params } => (
                SlotKey::Passphrase { argon2id: *params },
                crypto::argon2id(passphrase.expose_secret(), &salt.0, *params)?,
            ),
            NewSlot::Raw { key } => (SlotKey::RawKey {}, from_raw(key, &salt.0)),
        };
        let associated = Self::associated(vault, id, key, &salt);
        let wrapped = Base64(crypto::wrap(&wrapping, associated.as_bytes(), root)?);
        Ok(Self { id, key, salt, wrapped })
    }

    /// The root key; `None` when the slot is of another kind, or not for this key.
    pub(super) fn unwrap(&self, vault: Uuid, key: &UnlockKey) -> Result<Option<Key>, CryptoError> {
        let wrapping = match (self.key, key) {
            (SlotKey::Passphrase { argon2id }, UnlockKey::Passphrase(passphrase)) => {
                crypto::argon2id(passphrase.expose_secret(), &self.salt.0, argon2id)?
            }
            (SlotKey::RawKey {}, UnlockKey::Raw(key)) => from_raw(key, &self.salt.0),
            _ => return Ok(None),
        };
        let associated = Self::associated(vault, self.id, self.key, &self.salt);
        Ok(crypto::unwrap(&wrapping, associated.as_bytes(), &self.wrapped.0).ok())
    }

    pub(super) fn summary(&self) -> SlotSummary {
        let kind = match self.key {
            SlotKey::Passphrase { argon2id } => SlotKind::Passphrase { argon2id },
            SlotKey::RawKey {} => SlotKind::RawKey,
        };
        SlotSummary { id: self.id, kind }
    }

    /// Everything about the slot, for the header's commitment.
    pub(super) fn commit_to(&self, fields: Fields, vault: Uuid) -> Fields {
        fields.bytes(Self::associated(vault, self.id, self.key, &self.salt).as_bytes()).bytes(&self.wrapped.0)
    }

    fn associated(vault: Uuid, id: Uuid, key: SlotKey, salt: &Base64<32>) -> Fields {
        let fields = Fields::of("trayvault v1 key slot").bytes(vault.as_bytes()).bytes(id.as_bytes()).bytes(&salt.0);
        match key {
            SlotKey::Passphrase { argon2id: Argon2Params { memory_kib, passes, lanes } } => {
                fields.bytes(b"passphrase").number(memory_kib).number(passes).number(lanes)
            }
            SlotKey::RawKey {} => fields.bytes(b"raw-key"),
        }
    }
}

fn from_raw(key: &Key, salt: &[u8]) -> Key {
    crypto::hkdf_sha256(key, salt, "trayvault v1 raw-key slot")
}
