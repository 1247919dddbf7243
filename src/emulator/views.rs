//! What [`World`](super::World) and the control endpoint show and take.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::access::Account;
use super::call::Call;

/// An authentication with its secrets, as the oracle of a test wants it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuthenticationView {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub owner: Account,
    /// Its name.
    pub name: String,
    /// Its service's name.
    pub service: String,
    /// Its service's version.
    pub service_version: u32,
    /// The service environment it is for.
    pub service_environment_id: Uuid,
    /// The credentials, an object.
    pub credentials: Value,
    /// The user data, an object.
    pub user_data: Value,
    /// Its scopes, if it has any set.
    pub scopes: Option<Vec<String>>,
    /// The on-prem agent group, if it has one.
    pub on_prem_agent_group_id: Option<Uuid>,
    /// How it came to be.
    pub origin: Origin,
}

/// How an authentication came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// There from the start.
    Seed,
    /// Added through [`World`](super::World) or the control endpoint.
    Control,
    /// `POST /core/v1/authentications`.
    Rest,
    /// `createUserAuthentication`.
    Graphql,
}

/// One authentication made through the API. Kept when the authentication is deleted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Creation {
    /// The authentication that was made.
    pub id: Uuid,
    /// Whose token made it, and whose it therefore is.
    pub by: Account,
    /// Through which call.
    pub origin: Origin,
    /// Its name at the time.
    pub name: String,
    /// Its service environment.
    pub service_environment_id: Uuid,
    /// How many earlier creations had the same owner, name, environment, credentials, user data and scopes: anything
    /// above 0 is a duplicate.
    pub earlier_equals: usize,
}

/// An embedded end user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserView {
    /// Tray's id.
    pub id: Uuid,
    /// Their name.
    pub name: String,
    /// The customer's id for them.
    pub external_user_id: String,
    /// Whether they are never billed.
    pub is_test_user: bool,
}

/// A service environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EnvironmentView {
    /// Its id.
    pub id: Uuid,
    /// `Production`, or a custom OAuth app's title.
    pub title: String,
    /// The service's id.
    pub service_id: Uuid,
    /// The service's name.
    pub service: String,
    /// The service's version.
    pub service_version: u32,
}

/// The counts of a running emulator.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateView {
    /// End users.
    pub users: usize,
    /// Authentications of all owners.
    pub authentications: usize,
    /// Requests received by call, those limited or refused too.
    pub requests: BTreeMap<Call, u64>,
    /// Requests refused by the limits.
    pub limit_rejections: u64,
    /// Authentications made through the API.
    pub creations: usize,
    /// Those of them that repeat an earlier one.
    pub duplicates: usize,
    /// Faults still to strike.
    pub faults: u64,
    /// Whether `/full` is switched on.
    pub full_read_enabled: bool,
}

/// An authentication to add in Tray's own UI, as it were: unchecked, unlimited, unrecorded.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAuthentication {
    /// Whose it is.
    pub owner: Account,
    /// The service environment it is for.
    pub service_environment_id: Uuid,
    /// Its name.
    pub name: String,
    /// Its credentials; made up in the service's style when absent.
    #[serde(default)]
    pub credentials: Option<Map<String, Value>>,
    /// Its user data.
    #[serde(default)]
    pub user_data: Map<String, Value>,
    /// Its scopes.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
}

/// A change to an authentication in Tray's own UI, as it were: what is `None` stays.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alteration {
    /// A new name.
    pub name: Option<String>,
    /// New credentials, all of them.
    pub credentials: Option<Map<String, Value>>,
    /// New user data, all of it.
    pub user_data: Option<Map<String, Value>>,
    /// New scopes, all of them.
    pub scopes: Option<Vec<String>>,
}

/// The wire form of a workspace's `type`, which Tray's documents don't state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkspaceTypeForm {
    /// `"Shared"`
    Title,
    /// `"SHARED"`
    Upper,
    /// `{"name": "Shared"}`
    Object,
}
