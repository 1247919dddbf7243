//! The keys of a vault, derived a second time from what `vault.json` holds, by the primitives alone. The program's own
//! derivation only confirms that these are the keys to search for.

use std::fs;

use aes_gcm::{Aes256Gcm, KeyInit, aead::Aead, aead::Payload};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine, engine::general_purpose::STANDARD};
use hkdf::Hkdf;
use serde_json::Value;
use sha2::Sha256;
use trayvault::{
    secret::{Key, SecretBytes},
    vault::{Locked, Place, UnlockKey, Unlocked},
};
use uuid::Uuid;
use xaes_256_gcm::Xaes256Gcm;

use crate::support::House;

/// A key with what it is for.
pub(super) type Named = (String, Vec<u8>);

/// What is presented to a key slot.
pub(super) enum Presented<'a> {
    KeyFile(&'a [u8]),
    Passphrase(&'a [u8]),
}

/// Every key that a daemon has or had: those of the slot, the root key, and those derived from it.
pub(super) fn of_vault(house: &House, presented: &Presented<'_>) -> Vec<Named> {
    let header: Value =
        serde_json::from_slice(&fs::read(house.path("state/vault.json")).expect("a header")).expect("JSON");
    let vault: Uuid = header["vault"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let (slot_key, root) = root(vault, &header["slots"][0], presented);
    let derive = |salt: &[u8], label: &str| hkdf(&root, salt, label);

    let audit = derive(vault.as_bytes(), "trayvault v1 audit");
    let identity = derive(vault.as_bytes(), "trayvault v1 identity");
    let mut keys = vec![
        ("slot's key".to_owned(), slot_key),
        ("root key".to_owned(), root.clone()),
        ("commitment key".to_owned(), derive(vault.as_bytes(), "trayvault v1 commitment")),
        (AUDIT.to_owned(), audit.clone()),
        (IDENTIFIERS.to_owned(), hkdf(&audit, b"", "trayvault audit identifiers v1")),
        (FINGERPRINT.to_owned(), derive(vault.as_bytes(), "trayvault v1 fingerprint")),
        (IDENTITY.to_owned(), identity.clone()),
        ("identity, as age writes it".to_owned(), age_identity(&identity).into_bytes()),
    ];
    for epoch in header["epochs"].as_array().expect("epochs") {
        let salt = [&vault.as_bytes()[..], &bytes(&epoch["salt"])].concat();
        keys.push((EPOCH.to_owned(), derive(&salt, &format!("trayvault v1 epoch {}", epoch["number"]))));
    }
    confirm(&keys, vault, unlocked(house, presented));
    keys
}

pub(super) const AUDIT: &str = "audit key";
pub(super) const IDENTIFIERS: &str = "audit log's key for identifiers";
pub(super) const FINGERPRINT: &str = "fingerprint key";
pub(super) const EPOCH: &str = "epoch's key";
pub(super) const IDENTITY: &str = "identity";

fn age_identity(key: &[u8]) -> String {
    let prefix = bech32::Hrp::parse("age-secret-key-").expect("a prefix");
    bech32::encode::<bech32::Bech32>(prefix, key).expect("short enough").to_uppercase()
}

/// The wrapping key of a slot, and the root key that it opens.
fn root(vault: Uuid, slot: &Value, presented: &Presented<'_>) -> (Vec<u8>, Vec<u8>) {
    let (salt, wrapped) = (bytes(&slot["salt"]), bytes(&slot["wrapped"]));
    let id: Uuid = slot["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let mut associated = fields(&[b"trayvault v1 key slot", vault.as_bytes(), id.as_bytes(), &salt]);
    let wrapping = match presented {
        Presented::KeyFile(key) => {
            associated.extend(fields(&[b"raw-key"]));
            hkdf(key, &salt, "trayvault v1 raw-key slot")
        }
        Presented::Passphrase(passphrase) => {
            associated.extend(fields(&[b"passphrase"]));
            let costs = ["memory_kib", "passes", "lanes"].map(|cost| slot["key"]["argon2id"][cost].as_u64());
            let [memory, passes, lanes] = costs.map(|cost| u32::try_from(cost.expect("a cost")).expect("a cost"));
            associated.extend([memory, passes, lanes].map(|cost| u64::from(cost).to_be_bytes()).concat());
            let mut key = vec![0; 32];
            let params = Params::new(memory, passes, lanes, Some(32)).expect("costs");
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            argon2.hash_password_into(passphrase, &salt, &mut key).expect("a key");
            key
        }
    };
    let cipher = Aes256Gcm::new_from_slice(&wrapping).expect("32 bytes");
    let (nonce, sealed) = wrapped.split_first_chunk::<12>().expect("a nonce");
    let root = cipher.decrypt(nonce.into(), Payload { msg: sealed, aad: &associated }).expect("the root key");
    (wrapping, root)
}

/// That the program has the same audit, fingerprint and epoch keys, as its doings show.
fn confirm(keys: &[Named], vault: Uuid, unlocked: Unlocked) {
    let key = |kind: &str| &keys.iter().rfind(|(name, _)| name == kind).expect("a key").1;
    assert_eq!(unlocked.audit_key().expose_secret().as_slice(), key(AUDIT));

    let keyring = unlocked.into_keyring();
    let identity: age::x25519::Identity = age_identity(key(IDENTITY)).parse().expect("an identity");
    assert_eq!(keyring.recipient().to_string(), identity.to_public().to_string());
    let fingerprint = hmac::Hmac::<Sha256>::new_from_slice(key(FINGERPRINT)).map(|mac| {
        use hmac::Mac as _;
        mac.chain_update(fields(&[b"trayvault fingerprint", b"domain", b"value"])).finalize().into_bytes()
    });
    assert_eq!(
        keyring.keys().expect("unlocked").fingerprint("domain", b"value").as_bytes()[..],
        fingerprint.expect("any length")[..16]
    );

    let place = Place { table: "t", column: "c", record: b"r", revision: 1, times: &[] };
    let sealed = keyring.keys().expect("unlocked").seal(&place, b"plaintext").expect("sealed");
    let (head, body) = sealed.split_at(1 + 4);
    let (nonce, body) = body.split_first_chunk::<24>().expect("a nonce");
    let epoch = u32::from_be_bytes(head[1..].try_into().expect("4 bytes"));
    let mut associated = fields(&[b"trayvault record"]);
    associated.extend(1_u64.to_be_bytes());
    associated.extend(fields(&[vault.as_bytes()]));
    associated.extend(u64::from(epoch).to_be_bytes());
    associated.extend(fields(&[b"t", b"c", b"r"]));
    associated.extend([1_u64, 0].map(u64::to_be_bytes).concat());
    let cipher = Xaes256Gcm::new_from_slice(key(EPOCH)).expect("32 bytes");
    let opened = cipher.decrypt(nonce.into(), Payload { msg: body, aad: &associated }).expect("opened");
    assert_eq!(opened, b"plaintext");
}

fn unlocked(house: &House, presented: &Presented<'_>) -> Unlocked {
    let key = match presented {
        Presented::KeyFile(bytes) => {
            let key = Key::try_fill(|key| <[u8; 32]>::try_from(*bytes).map(|bytes| *key = bytes));
            UnlockKey::Raw(key.expect("32 bytes"))
        }
        Presented::Passphrase(text) => UnlockKey::Passphrase(SecretBytes::new(text.to_vec())),
    };
    Locked::open(&house.path("state")).and_then(|locked| locked.unlock(&key)).expect("unlocked")
}

fn hkdf(input: &[u8], salt: &[u8], label: &str) -> Vec<u8> {
    let mut key = vec![0; 32];
    Hkdf::<Sha256>::new(Some(salt), input).expand(label.as_bytes(), &mut key).expect("32 bytes");
    key
}

/// Each field after its length, a big-endian `u64`.
fn fields(fields: &[&[u8]]) -> Vec<u8> {
    fields.iter().flat_map(|field| [&(field.len() as u64).to_be_bytes()[..], field].concat()).collect()
}

fn bytes(base64: &Value) -> Vec<u8> {
    STANDARD.decode(base64.as_str().expect("text")).expect("base64")
}
