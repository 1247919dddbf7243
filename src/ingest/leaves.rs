//! What an authentication is, field by field, without any value: to tell whether it changed, and to show what would.

use std::collections::BTreeMap;

use serde_json::{Value, value::RawValue};

use super::{
    plan::{Body, Obstacle},
    refusal::token,
};
use crate::{
    secret::SecretBytes,
    tray::FullView,
    vault::{Cache, Fingerprint, Keys},
};

/// The keyed fingerprint of each leaf of an authentication, by its JSON pointer (RFC 6901, in full).
///
/// Equal values have equal fingerprints at every pointer and in every authentication of one owner, and unequal ones
/// between owners: that two end users have one password is nobody's to see. An owner is an end user by the external id,
/// which one who is yet to be made has too, or else the workspace.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Leaves(BTreeMap<String, Leaf>);

/// A leaf.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) fingerprint: Fingerprint,
    /// Its pointer, fit to be shown.
    pub(super) shown: String,
}

/// The fields of an authentication.
struct Fields<'a> {
    name: &'a str,
    user_data: &'a RawValue,
    credentials: &'a RawValue,
    scopes: &'a [String],
    group: Option<&'a str>,
}

impl Leaves {
    /// Of what Tray holds for an owner.
    pub(super) fn of_held(cache: &Cache, owner: Option<&str>, held: &FullView<'_>) -> Result<Self, Obstacle> {
        let fields = Fields {
            name: &held.name,
            user_data: held.user_data,
            credentials: held.credentials,
            scopes: held.scopes.as_deref().unwrap_or_default(),
            group: held.on_prem_agent_group_id.as_deref(),
        };
        Self::of(cache, owner, &fields)
    }

    /// Of what Tray would hold.
    pub(super) fn of_body(cache: &Cache, owner: Option<&str>, body: &Body<'_>) -> Result<Self, Obstacle> {
        let fields = Fields {
            name: &body.name,
            user_data: &body.user_data,
            credentials: &body.credentials,
            scopes: body.scopes.as_deref().unwrap_or_default(),
            group: body.on_prem_agent_group_id.as_deref(),
        };
        Self::of(cache, owner, &fields)
    }

    fn of(cache: &Cache, owner: Option<&str>, fields: &Fields<'_>) -> Result<Self, Obstacle> {
        let domain = owner.map_or_else(|| "field of the workspace".to_owned(), |id| format!("field of end user {id}"));
        let keys = cache.keyring().keys().map_err(|error| Obstacle::Later(error.to_string()))?;
        let mut all = Gather { keys: &keys, domain, leaves: BTreeMap::new() };
        all.leaf("/name", "/name", &Value::from(fields.name));
        for (pointer, object) in [("/userData", fields.user_data), ("/credentials", fields.credentials)] {
            let object: Value = serde_json::from_str(object.get())
                .map_err(|_| Obstacle::Later("what Tray holds is nested too deeply to be compared".to_owned()))?;
            all.branch(pointer, pointer, &object);
        }
        all.branch("/scopes", "/scopes", &Value::from(fields.scopes));
        if let Some(group) = fields.group {
            all.leaf("/onPremAgentGroupId", "/onPremAgentGroupId", &Value::from(group));
        }
        Ok(Self(all.leaves))
    }

    /// Its leaves, in the order of their pointers.
    pub(super) fn into_sorted(self) -> impl Iterator<Item = (String, Leaf)> {
        self.0.into_iter()
    }

    /// Takes a leaf out.
    pub(super) fn take(&mut self, pointer: &str) -> Option<Leaf> {
        self.0.remove(pointer)
    }
}

struct Gather<'a> {
    keys: &'a Keys,
    domain: String,
    leaves: BTreeMap<String, Leaf>,
}

impl Gather<'_> {
    /// What is in an object or a list. An empty one at the root is as good as none, further down it is a leaf.
    fn branch(&mut self, pointer: &str, shown: &str, value: &Value) {
        match value {
            Value::Object(members) => {
                for (key, value) in members {
                    let exact = key.replace('~', "~0").replace('/', "~1");
                    self.value(&format!("{pointer}/{exact}"), &format!("{shown}{}", token(key)), value);
                }
            }
            Value::Array(elements) => {
                for (index, value) in elements.iter().enumerate() {
                    self.value(&format!("{pointer}/{index}"), &format!("{shown}/{index}"), value);
                }
            }
            leaf => self.leaf(pointer, shown, leaf),
        }
    }

    fn value(&mut self, pointer: &str, shown: &str, value: &Value) {
        match value {
            Value::Object(members) if !members.is_empty() => self.branch(pointer, shown, value),
            Value::Array(elements) if !elements.is_empty() => self.branch(pointer, shown, value),
            leaf => self.leaf(pointer, shown, leaf),
        }
    }

    fn leaf(&mut self, pointer: &str, shown: &str, value: &Value) {
        let text = serde_json::to_vec(value).unwrap_or_else(|_| unreachable!("a value is JSON"));
        let text = SecretBytes::new(text);
        let fingerprint = self.keys.fingerprint(&self.domain, text.expose_secret());
        self.leaves.insert(pointer.to_owned(), Leaf { fingerprint, shown: shown.to_owned() });
    }
}
