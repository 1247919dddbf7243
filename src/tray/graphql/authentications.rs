//! Lists of authentications, and the older way to create and delete them.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Connection;
use crate::{
    authentication::{AuthenticationId, Environment, Metadata, Owner, Service, ServiceEnvironmentId},
    tray::{
        error::{Repeat, TrayError},
        token::{Acting, UserToken},
        transport::Tray,
    },
};

const LIST: &str = "query ($first: Int, $after: String) { \
    viewer { authentications(first: $first, after: $after) { \
    edges { node { id name service { name version } serviceEnvironment { id title } } cursor } \
    pageInfo { hasNextPage endCursor } } } }";
const CREATE: &str = "mutation ($input: CreateUserAuthenticationInput!) { \
    createUserAuthentication(input: $input) { authenticationId } }";
const REMOVE: &str = "mutation ($input: RemoveAuthenticationInput!) { \
    removeAuthentication(input: $input) { clientMutationId } }";

/// An authentication as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: AuthenticationId,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub service: Option<Service>,
    /// Its service environment.
    pub environment: Option<Environment>,
}

impl Listed {
    /// The same, with whose list it was on.
    pub fn into_metadata(self, owner: Owner) -> Metadata {
        let Self { id, name, service, environment } = self;
        Metadata { id, name, owner, service, environment, scopes: None }
    }
}

/// What the older way to create an authentication takes.
pub struct NewUserAuthentication<'a> {
    /// Its name.
    pub name: &'a str,
    /// The service's id, as [`crate::tray::ConnectorService`] has it.
    pub service_id: &'a str,
    /// The service environment's id.
    pub service_environment_id: &'a ServiceEnvironmentId,
    /// The credentials: an object.
    pub data: &'a RawValue,
    /// Scopes, without repeats.
    pub scopes: &'a [String],
    /// Whether Tray's UI hides it.
    pub hidden: bool,
}

impl Tray {
    /// Every authentication of an end user or a workspace. A listing that does not hang together is an error, so that
    /// what is not on it can be believed to be gone.
    ///
    /// # Errors
    /// [`TrayError`], by class.
    pub async fn authentications(&self, acting: Acting<'_>) -> Result<Vec<Listed>, TrayError> {
        #[derive(Deserialize)]
        struct Data {
            viewer: Viewer,
        }
        #[derive(Deserialize)]
        struct Viewer {
            authentications: Connection<Node>,
        }
        let extract = |data: Data| data.viewer.authentications;
        let nodes =
            self.connection(acting.bearer(), "list authentications", LIST, &(), extract, |node| node.id).await?;
        Ok(nodes.into_iter().map(Listed::from).collect())
    }

    /// Creates an authentication the older way, sent once.
    ///
    /// # Errors
    /// [`TrayError`], by class; `UnknownOutcome` when it may have been created.
    pub async fn create_user_authentication(
        &self,
        user: &UserToken,
        new: &NewUserAuthentication<'_>,
    ) -> Result<AuthenticationId, TrayError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Input<'a> {
            name: &'a str,
            service_id: &'a str,
            service_environment_id: &'a ServiceEnvironmentId,
            /// JSON as a string, by the contract.
            data: &'a str,
            scopes: &'a [String],
            hidden: bool,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Data {
            create_user_authentication: Created,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Created {
            authentication_id: AuthenticationId,
        }
        let NewUserAuthentication { name, service_id, service_environment_id, data, scopes, hidden } = *new;
        let input = Input { name, service_id, service_environment_id, data: data.get(), scopes, hidden };
        let call = "create user authentication";
        let data: Data = self.mutation(user.secret(), call, CREATE, input, Repeat::MakesAnother).await?;
        Ok(data.create_user_authentication.authentication_id)
    }

    /// Deletes an authentication the older way, sent once. It can't be undone.
    ///
    /// # Errors
    /// [`TrayError`], by class; `Gone` if it is not there.
    pub async fn remove_authentication(&self, user: &UserToken, id: AuthenticationId) -> Result<(), TrayError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Input {
            authentication_id: AuthenticationId,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Data {
            #[serde(rename = "removeAuthentication")]
            _removed: Option<Removed>,
        }
        #[derive(Deserialize)]
        struct Removed {}
        let input = Input { authentication_id: id };
        self.mutation(user.secret(), "remove authentication", REMOVE, input, Repeat::Deliberate).await.map(|_: Data| ())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    id: AuthenticationId,
    name: Option<String>,
    service: Option<ServiceNode>,
    service_environment: Option<EnvironmentNode>,
}

#[derive(Deserialize)]
struct ServiceNode {
    name: String,
    version: Option<Version>,
}

/// A version, which comes as a string here and as a number elsewhere.
#[derive(Deserialize)]
#[serde(untagged)]
enum Version {
    Text(String),
    Number(u64),
}

#[derive(Deserialize)]
struct EnvironmentNode {
    id: ServiceEnvironmentId,
    title: Option<String>,
}

impl From<Node> for Listed {
    fn from(node: Node) -> Self {
        Self {
            id: node.id,
            name: node.name.unwrap_or_default(),
            service: node.service.map(|service| Service {
                name: service.name,
                version: match service.version {
                    Some(Version::Text(text)) => text,
                    Some(Version::Number(number)) => number.to_string(),
                    None => String::new(),
                },
            }),
            environment: node
                .service_environment
                .map(|one| Environment { id: one.id, title: one.title.unwrap_or_default() }),
        }
    }
}
