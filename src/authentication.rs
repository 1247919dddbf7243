//! The vocabulary of the domain: who owns an authentication, which service it is for, and what may be said of
//! it without a secret. Names follow the contract with Tray.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The id that Tray gave an authentication (a UUID, by the contract).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AuthenticationId(pub Uuid);

impl AuthenticationId {
    /// The 16 bytes of the UUID, in network order.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for AuthenticationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for AuthenticationId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Tray's id of an end user.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(pub String);

/// The id that the embedding company gave an end user.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExternalUserId(pub String);

/// The id of a service environment (`Production`, or a custom OAuth app).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServiceEnvironmentId(pub String);

/// An embedded end user, as Tray lists them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndUser {
    /// Tray's id.
    pub id: UserId,
    /// The embedding company's id.
    pub external_user_id: ExternalUserId,
    /// The display name.
    pub name: String,
}

impl EndUser {
    /// The user as an owner of authentications.
    pub fn owner(&self) -> Owner {
        Owner::EndUser { user_id: self.id.clone(), external_user_id: self.external_user_id.clone() }
    }
}

/// Whose token reads an authentication: one of the two callers that Tray permits to read in full.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "principal", rename_all = "snake_case")]
pub enum Owner {
    /// An embedded end user.
    EndUser {
        /// Tray's id of the end user.
        user_id: UserId,
        /// The embedding company's id of the same user.
        external_user_id: ExternalUserId,
    },
    /// The shared workspace of the configured API user.
    Workspace,
}

impl Owner {
    /// Which kind of principal this is, as rules and logs name it.
    pub fn principal(&self) -> Principal {
        match self {
            Self::EndUser { .. } => Principal::Embedded,
            Self::Workspace => Principal::Workspace,
        }
    }

    /// The embedding company's id of the owner; a workspace has none.
    pub fn external_user_id(&self) -> Option<&str> {
        match self {
            Self::EndUser { external_user_id, .. } => Some(&external_user_id.0),
            Self::Workspace => None,
        }
    }

    /// What identifies the owner towards Tray: the user's id, or the word `workspace`.
    pub fn key(&self) -> &str {
        match self {
            Self::EndUser { user_id, .. } => &user_id.0,
            Self::Workspace => "workspace",
        }
    }
}

/// The two kinds of principal that Tray permits to read an authentication in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Principal {
    /// Embedded end users, each by a user token of their own.
    Embedded,
    /// An API user of a shared workspace.
    Workspace,
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embedded => "embedded",
            Self::Workspace => "workspace",
        })
    }
}

/// The third-party service that an authentication is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Service {
    /// Tray's name of the service, such as `salesforce`.
    pub name: String,
    /// Its version; Tray sends it as a number or as a string, it is kept as text.
    pub version: String,
}

/// The service environment of an authentication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Tray's id.
    pub id: ServiceEnvironmentId,
    /// Its title, such as `Production`.
    pub title: String,
}

/// What may be said of an authentication without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Tray's id.
    pub id: AuthenticationId,
    /// The name that its owner sees.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
    /// What it is for; Tray may not say.
    pub service: Option<Service>,
    /// The service environment; Tray may not say.
    pub environment: Option<Environment>,
    /// Its scopes, where they were asked for: a list does not have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
}
