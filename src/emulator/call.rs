//! The calls of the contract, by name.

use serde::{Deserialize, Serialize};

/// A call to Tray; its JSON name, in the control endpoint too, is the variant in `snake_case`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// `GET /core/v1/connectors`
    ListConnectors,
    /// `GET /core/v1/services/{name}/versions/{version}/environments`
    ListEnvironments,
    /// `POST /core/v1/authentications`
    CreateAuthentication,
    /// `GET /core/v1/authentications/{id}`
    ReadAuthentication,
    /// `PUT /core/v1/authentications/{id}`
    ReplaceAuthentication,
    /// `DELETE /core/v1/authentications/{id}`
    DeleteAuthentication,
    /// `GET /core/v1/authentications/{id}/full`
    FullRead,
    /// `GET /core/v1/workspaces`
    ListWorkspaces,
    /// GraphQL `users`
    ListUsers,
    /// GraphQL `createExternalUser`
    CreateExternalUser,
    /// GraphQL `authorize`
    Authorize,
    /// GraphQL `viewer { authentications }`
    ListAuthentications,
    /// GraphQL `createUserAuthentication`
    CreateUserAuthentication,
    /// GraphQL `removeAuthentication`
    RemoveAuthentication,
    /// Whatever the contract does not know.
    Unknown,
}
