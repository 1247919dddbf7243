//! The values: all of them, or none.

use std::{collections::HashMap, path::Path};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    super::{Code, Failure, api},
    wanted::{Form, Wanted},
};
use crate::{
    authentication::AuthenticationId,
    crypto::{self, hmac_sha256, hmac_sha256_matches},
    secret::{Key, SecretBytes},
};

/// How often it is tried to read several fields of one authentication in one and the same revision.
const ATTEMPTS: u32 = 5;

#[derive(Deserialize)]
struct Revealed<'a> {
    revision: u64,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    authentication: Option<&'a RawValue>,
}

/// Reads what is wanted, in the order in which it is wanted. Fields of one authentication are of one revision: a client's id
/// and the secret of another don't go together.
pub(super) async fn read(socket: &Path, wanted: &[Wanted]) -> Result<Vec<SecretBytes>, Failure> {
    for _ in 0..ATTEMPTS {
        let mut revisions: HashMap<AuthenticationId, u64> = HashMap::new();
        let mut values = Vec::with_capacity(wanted.len());
        let mut is_one = true;
        for one in wanted {
            let (revision, value) = read_one(socket, one).await.map_err(|failure| about(one, failure))?;
            is_one &= *revisions.entry(one.id).or_insert(revision) == revision;
            values.push(value);
        }
        if is_one {
            return Ok(values);
        }
    }
    Err(Failure::new(Code::Unavailable, "an authentication changes faster than its fields can be read"))
}

async fn read_one(socket: &Path, wanted: &Wanted) -> Result<(u64, SecretBytes), Failure> {
    let answer = api::read(socket, &wanted.path).await?;
    let Revealed { revision, value, authentication } = api::parse(&answer)?;
    let raw = value.or(authentication).ok_or_else(|| Failure::new(Code::Data, "it is null"))?.get();
    let text: Result<String, _> = serde_json::from_str(raw);
    let value = SecretBytes::new(text.unwrap_or_else(|_| raw.to_owned()).into_bytes());
    if wanted.form == Form::Variable && value.expose_secret().contains(&0) {
        let hint = "a variable ends at one: give it with --file".to_owned();
        return Err(Failure::new(Code::Data, "it has a NUL byte").hint(hint));
    }
    Ok((revision, value))
}

fn about(wanted: &Wanted, failure: Failure) -> Failure {
    Failure { message: format!("{} can't be had: {}", wanted.name, failure.message), ..failure }
}

/// What shows that a value is another, and nothing else of it: MACs under a key that this process alone has.
pub(super) struct Fingerprints {
    key: Key,
    of: Vec<[u8; 32]>,
}

impl Fingerprints {
    pub(super) fn of(values: &[SecretBytes]) -> Result<Self, Failure> {
        let key = crypto::random_key().map_err(|error| Failure::of(Code::System, &error))?;
        let mut fingerprints = Self { key, of: Vec::new() };
        fingerprints.become_of(values);
        Ok(fingerprints)
    }

    pub(super) fn become_of(&mut self, values: &[SecretBytes]) {
        self.of = values.iter().map(|value| hmac_sha256(&self.key, &[value.expose_secret()])).collect();
    }

    /// Which of the values are others now.
    pub(super) fn differing(&self, values: &[SecretBytes]) -> impl Iterator<Item = usize> {
        let is_same = |index: usize, value: &SecretBytes| {
            hmac_sha256_matches(&self.key, &[value.expose_secret()], &self.of[index])
        };
        values.iter().enumerate().filter(move |(index, value)| !is_same(*index, value)).map(|(index, _)| index)
    }
}
