//! The GraphQL operations of the contract: end users, their tokens, and lists of authentications.

use std::collections::HashSet;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{
    body::{MALFORMED, parse},
    error::{Class, Repeat, TrayError},
    token::{Acting, MasterToken, UserToken},
    transport::Tray,
};
use crate::{
    authentication::{
        AuthenticationId, EndUser, Environment, ExternalUserId, Metadata, Owner, Service, ServiceEnvironmentId, UserId,
    },
    secret::{SecretBytes, SecretString},
};

/// Nodes asked for at once.
const PAGE: u32 = 100;

const LIST_USERS: &str = "query ($first: Int, $after: String) { users(first: $first, after: $after) { edges { node { id name externalUserId } cursor } pageInfo { hasNextPage endCursor } } }";
const LIST_AUTHENTICATIONS: &str = "query ($first: Int, $after: String) { viewer { authentications(first: $first, after: $after) { edges { node { id name service { name version } serviceEnvironment { id title } } cursor } pageInfo { hasNextPage endCursor } } } }";
const AUTHORIZE: &str = "mutation ($userId: ID!) { authorize(input: { userId: $userId }) { accessToken } }";

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
        Metadata { id, name, owner, service, environment }
    }
}

impl Tray {
    /// Every end user of the organisation.
    ///
    /// # Errors
    /// [`TrayError`], by class.
    pub async fn end_users(&self, master: &MasterToken) -> Result<Vec<EndUser>, TrayError> {
        #[derive(Deserialize)]
        struct Data {
            users: Connection<UserNode>,
        }
        let nodes = self.connection(master.bearer(), "list end users", LIST_USERS, |data: Data| data.users).await?;
        Ok(nodes.into_iter().map(EndUser::from).collect())
    }

    /// Mints a token for an end user, valid for two days.
    ///
    /// # Errors
    /// [`TrayError`], by class.
    pub async fn authorize(&self, master: &MasterToken, user: &UserId) -> Result<UserToken, TrayError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Variables<'a> {
            user_id: &'a UserId,
        }
        #[derive(Deserialize)]
        struct Data {
            authorize: Authorized,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Authorized {
            access_token: String,
        }
        // A token that nobody received harms nobody: it can be asked for again.
        let data: Data = self
            .operation(master.bearer(), "mint user token", AUTHORIZE, Variables { user_id: user }, Repeat::Harmless)
            .await?;
        Ok(UserToken::new(user.clone(), SecretString::new(data.authorize.access_token)))
    }

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
            authentications: Connection<AuthenticationNode>,
        }
        let nodes = self
            .connection(acting.bearer(), "list authentications", LIST_AUTHENTICATIONS, |data: Data| {
                data.viewer.authentications
            })
            .await?;
        Ok(nodes.into_iter().map(Listed::from).collect())
    }

    /// Reads a Relay connection to its end.
    async fn connection<D: DeserializeOwned, N>(
        &self,
        token: &SecretString,
        call: &'static str,
        query: &str,
        extract: impl Fn(D) -> Connection<N>,
    ) -> Result<Vec<N>, TrayError> {
        #[derive(Serialize)]
        struct Page<'a> {
            first: u32,
            after: Option<&'a str>,
        }
        let broken = |reason| TrayError { class: Class::RetryLater, call, reason, status: None };
        let mut nodes = Vec::new();
        let mut seen = HashSet::new();
        let mut after: Option<String> = None;
        loop {
            let page = Page { first: PAGE, after: after.as_deref() };
            let connection = extract(self.operation(token, call, query, page, Repeat::Harmless).await?);
            nodes.extend(connection.edges.into_iter().map(|edge| edge.node));
            if !connection.page_info.has_next_page {
                return Ok(nodes);
            }
            let cursor =
                connection.page_info.end_cursor.ok_or_else(|| broken("a page without a cursor to the next"))?;
            if !seen.insert(cursor.clone()) {
                return Err(broken("a page came twice"));
            }
            after = Some(cursor);
        }
    }

    async fn operation<T: DeserializeOwned>(
        &self,
        token: &SecretString,
        call: &'static str,
        query: &str,
        variables: impl Serialize,
        repeat: Repeat,
    ) -> Result<T, TrayError> {
        #[derive(Serialize)]
        struct Request<'a, V> {
            query: &'a str,
            variables: V,
        }
        // Operations fail with HTTP 200.
        let fail = |(class, reason)| TrayError { class, call, reason, status: Some(200) };
        let request = serde_json::to_vec(&Request { query, variables });
        let request = request.unwrap_or_else(|_| unreachable!("variables have string keys and plain values"));
        let answer = self.graphql_post(token, call, SecretBytes::new(request), repeat).await?;
        let envelope: Envelope<'_> = parse(&answer).map_err(|()| fail((repeat.unanswered(), MALFORMED)))?;
        if let Some(error) = envelope.errors.unwrap_or_default().first() {
            if error.is_limit() {
                self.budget().exceeded();
            }
            return Err(fail(error.class(repeat)));
        }
        self.budget().answered();
        let data = envelope.data.ok_or_else(|| fail((repeat.unanswered(), MALFORMED)))?;
        serde_json::from_str(data.get()).map_err(|_| fail((repeat.unanswered(), MALFORMED)))
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    errors: Option<Vec<OperationError>>,
}

/// An error of an operation. Its message is compared, never shown.
#[derive(Deserialize)]
struct OperationError {
    #[serde(default)]
    message: String,
    #[serde(default)]
    extensions: Extensions,
}

#[derive(Default, Deserialize)]
struct Extensions {
    name: Option<String>,
    code: Option<String>,
}

impl OperationError {
    /// The message alone tells the limit from a refusal.
    fn is_limit(&self) -> bool {
        self.message == "Rate limit exceeded"
    }

    fn class(&self, repeat: Repeat) -> (Class, &'static str) {
        if self.is_limit() {
            return (Class::RetryLater, "over Tray's request limit");
        }
        match (self.extensions.name.as_deref(), self.extensions.code.as_deref()) {
            (_, Some("access_not_allowed")) => (Class::NotPermitted, "the token is not allowed to do this"),
            (_, Some("resource_does_not_exist" | "user_does_not_exist")) => (Class::Gone, "no such thing"),
            (_, Some("resource_already_exists" | "user_already_exists")) => (Class::BadInput, "it exists already"),
            (Some("GraphQLError"), _) => (Class::BadInput, "Tray refuses what was sent"),
            _ => (repeat.unanswered(), "Tray failed"),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Connection<N> {
    edges: Vec<Edge<N>>,
    page_info: PageInfo,
}

#[derive(Deserialize)]
struct Edge<N> {
    node: N,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageInfo {
    has_next_page: bool,
    end_cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserNode {
    id: UserId,
    name: Option<String>,
    external_user_id: ExternalUserId,
}

impl From<UserNode> for EndUser {
    fn from(node: UserNode) -> Self {
        Self { id: node.id, external_user_id: node.external_user_id, name: node.name.unwrap_or_default() }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthenticationNode {
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

impl From<AuthenticationNode> for Listed {
    fn from(node: AuthenticationNode) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn class(error: &str) -> Class {
        let error: OperationError = serde_json::from_str(error).expect("an error");
        error.class(Repeat::MakesAnother).0
    }

    #[test]
    fn the_message_alone_tells_the_limit_from_a_refusal() {
        let with = |message: &str| {
            format!(
                r#"{{"message":"{message}","extensions":{{"name":"PreconditionError","code":"access_not_allowed"}}}}"#
            )
        };
        assert_eq!(class(&with("Rate limit exceeded")), Class::RetryLater);
        assert_eq!(class(&with("Not for you")), Class::NotPermitted);
    }

    #[test]
    fn errors_of_every_name_have_a_class() {
        let of = |name: &str, code: &str| {
            class(&format!(r#"{{"message":"m","extensions":{{"name":"{name}","code":{code}}}}}"#))
        };
        assert_eq!(of("PreconditionError", r#""user_does_not_exist""#), Class::Gone);
        assert_eq!(of("GraphQLError", "null"), Class::BadInput);
        assert_eq!(of("InternalError", "null"), Class::UnknownOutcome);
        assert_eq!(class("{}"), Class::UnknownOutcome);
    }
}
