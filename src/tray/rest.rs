//! The REST calls of the contract.

use reqwest::Method;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{
    body::{MALFORMED, parse},
    error::{Class, Repeat, TrayError},
    token::{Acting, FullReadPermit, MasterToken},
    transport::{Call, Tray},
};
use crate::{
    authentication::{AuthenticationId, ServiceEnvironmentId},
    percent,
    secret::{SecretBytes, SecretString},
};

/// A connector, for the service behind it.
#[derive(Clone, Debug, Deserialize)]
pub struct Connector {
    /// The connector's name.
    pub name: String,
    /// The service that its authentications are for.
    pub service: Option<ConnectorService>,
}

/// The service behind a connector: what service environments are looked up by.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ConnectorService {
    /// Its id, which the older way to create an authentication takes.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
}

/// A service environment with the schemas of its authentications.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEnvironment {
    /// Its id.
    pub id: ServiceEnvironmentId,
    /// Its title, such as `Production`.
    pub title: String,
    /// A JSON Schema of mixed age and care; see the contract.
    #[serde(default)]
    pub user_data_schema: serde_json::Value,
    /// Likewise.
    #[serde(default)]
    pub credentials_schema: serde_json::Value,
    /// The scopes it offers.
    #[serde(default)]
    pub scopes: Option<Vec<Scope>>,
}

/// A scope as an environment lists it.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Scope {
    /// Its name alone.
    Name(String),
    /// Its name and a description.
    Described {
        /// Its name.
        scope: String,
    },
}

/// What is sent to create an authentication.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewAuthentication<'a> {
    /// Its name.
    pub name: &'a str,
    /// For which service environment.
    pub service_environment_id: &'a ServiceEnvironmentId,
    /// An object by the environment's `userDataSchema`.
    pub user_data: &'a RawValue,
    /// An object by the environment's `credentialsSchema`.
    pub credentials: &'a RawValue,
    /// Scopes, without repeats.
    pub scopes: &'a [String],
    /// Its on-prem agent group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_prem_agent_group_id: Option<&'a str>,
}

/// What is sent to replace an authentication: Tray takes whole bodies only.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replacement<'a> {
    /// Its name afterwards.
    pub name: &'a str,
    /// Its user data afterwards.
    pub user_data: &'a RawValue,
    /// Its credentials afterwards.
    pub credentials: &'a RawValue,
    /// Its scopes afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<&'a [String]>,
    /// Its on-prem agent group afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_prem_agent_group_id: Option<&'a str>,
}

/// An authentication without anything sensitive.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Its id.
    pub id: AuthenticationId,
    /// Its name.
    pub name: String,
    /// Its service environment.
    pub service_environment_id: Option<ServiceEnvironmentId>,
    /// Its scopes.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// Its on-prem agent group.
    #[serde(default)]
    pub on_prem_agent_group_id: Option<String>,
}

/// The answer of a full read, as it came.
pub struct FullAuthentication(SecretBytes);

/// A look into the answer of a full read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FullView<'a> {
    /// Its id.
    pub id: AuthenticationId,
    /// Its name.
    pub name: String,
    /// Its service environment.
    pub service_environment_id: Option<ServiceEnvironmentId>,
    /// Its scopes.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// Its on-prem agent group.
    #[serde(default)]
    pub on_prem_agent_group_id: Option<String>,
    /// Its user data: an object.
    #[serde(borrow)]
    pub user_data: &'a RawValue,
    /// Its credentials: an object.
    #[serde(borrow)]
    pub credentials: &'a RawValue,
}

impl FullAuthentication {
    const CALL: &str = "read authentication in full";

    /// Takes an answer that has what the contract requires.
    fn new(body: SecretBytes, id: AuthenticationId) -> Option<Self> {
        let view: FullView<'_> = serde_json::from_slice(body.expose_secret()).ok()?;
        let is_object = |value: &RawValue| value.get().starts_with('{');
        let whole = view.id == id && is_object(view.user_data) && is_object(view.credentials);
        whole.then_some(Self(body))
    }

    /// What the answer says.
    ///
    /// # Errors
    /// None that can happen: the answer was read once already.
    pub fn view(&self) -> Result<FullView<'_>, TrayError> {
        serde_json::from_slice(self.0.expose_secret()).map_err(|_| malformed(Self::CALL, Class::RetryLater))
    }

    /// The answer's JSON text, every field as Tray sent it.
    pub fn into_body(self) -> SecretBytes {
        self.0
    }

    /// The answer's JSON text.
    pub fn body(&self) -> &SecretBytes {
        &self.0
    }
}

/// A workspace as its token sees it.
#[derive(Deserialize)]
pub(super) struct Workspace {
    pub(super) id: String,
    pub(super) name: String,
    #[serde(rename = "type")]
    kind: serde_json::Value,
}

impl Workspace {
    /// Whether its type is *Shared*. The wire form is unstated: a string of any case, or an object that names it.
    pub(super) fn is_shared(&self) -> bool {
        let name = match &self.kind {
            serde_json::Value::Object(object) => object.get("name").or_else(|| object.get("type")),
            other => Some(other),
        };
        name.and_then(serde_json::Value::as_str).is_some_and(|name| name.eq_ignore_ascii_case("shared"))
    }
}

#[derive(Deserialize)]
struct Elements<T> {
    elements: Vec<T>,
}

impl Tray {
    /// `GET /core/v1/connectors`.
    ///
    /// # Errors
    /// [`TrayError`], by class.
    pub async fn connectors(&self, acting: Acting<'_>) -> Result<Vec<Connector>, TrayError> {
        let all: Elements<_> = self.get(acting.bearer(), "list connectors", "/core/v1/connectors").await?;
        Ok(all.elements)
    }

    /// `GET /core/v1/services/{name}/versions/{version}/environments`.
    ///
    /// # Errors
    /// [`TrayError`], by class.
    pub async fn service_environments(
        &self,
        acting: Acting<'_>,
        service: &str,
        version: u32,
    ) -> Result<Vec<ServiceEnvironment>, TrayError> {
        self.environments(acting.bearer(), service, version).await
    }

    /// The same with the organisation's token, for those whose own token Tray does not take here.
    ///
    /// # Errors
    /// [`TrayError`], by class.
    pub async fn service_environments_of_organisation(
        &self,
        master: &MasterToken,
        service: &str,
        version: u32,
    ) -> Result<Vec<ServiceEnvironment>, TrayError> {
        self.environments(master.bearer(), service, version).await
    }

    /// `GET /core/v1/authentications/{id}`: nothing sensitive.
    ///
    /// # Errors
    /// [`TrayError`], by class.
    pub async fn authentication(&self, acting: Acting<'_>, id: AuthenticationId) -> Result<Summary, TrayError> {
        self.get(acting.bearer(), "read authentication", &format!("/core/v1/authentications/{id}")).await
    }

    /// `GET /core/v1/authentications/{id}/full`.
    ///
    /// # Errors
    /// [`TrayError`], by class. [`Class::NotEnabled`] is told from [`Class::NotPermitted`] by a metadata read, which a
    /// caller that is merely not allowed does not get either.
    pub async fn full(
        &self,
        permit: FullReadPermit<'_>,
        id: AuthenticationId,
        refresh: Refresh,
    ) -> Result<FullAuthentication, TrayError> {
        let query = match refresh {
            Refresh::AsItIs => "",
            Refresh::Force => "?forceRefresh=true",
        };
        let path = format!("/core/v1/authentications/{id}/full{query}");
        let call = FullAuthentication::CALL;
        match self.get_bytes(permit.acting().bearer(), call, &path).await {
            Ok(body) => FullAuthentication::new(body, id).ok_or_else(|| malformed(call, Class::RetryLater)),
            Err(error) if error.class == Class::NotPermitted => {
                let enabled_elsewhere = self.authentication(permit.acting(), id).await;
                Err(match enabled_elsewhere {
                    Ok(_) => TrayError {
                        class: Class::NotEnabled,
                        reason: "the full read is not enabled for this organisation",
                        ..error
                    },
                    Err(_) => error,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// `POST /core/v1/authentications`, sent once.
    ///
    /// # Errors
    /// [`TrayError`], by class; [`Class::UnknownOutcome`] when it may have been created.
    pub async fn create(&self, acting: Acting<'_>, new: &NewAuthentication<'_>) -> Result<AuthenticationId, TrayError> {
        #[derive(Deserialize)]
        struct Created {
            id: AuthenticationId,
        }
        let name = "create authentication";
        let call = Call {
            name,
            method: Method::POST,
            path: "/core/v1/authentications",
            body: Some(to_json(new)),
            repeat: Repeat::MakesAnother,
        };
        let answer = self.rest(acting.bearer(), call).await?;
        let created: Created = parse(&answer).map_err(|()| malformed(name, Class::UnknownOutcome))?;
        Ok(created.id)
    }

    /// `PUT /core/v1/authentications/{id}`: the whole of it.
    ///
    /// # Errors
    /// [`TrayError`], by class.
    pub async fn replace(
        &self,
        acting: Acting<'_>,
        id: AuthenticationId,
        replacement: &Replacement<'_>,
    ) -> Result<(), TrayError> {
        let call = Call {
            name: "replace authentication",
            method: Method::PUT,
            path: &format!("/core/v1/authentications/{id}"),
            body: Some(to_json(replacement)),
            repeat: Repeat::Harmless,
        };
        self.rest(acting.bearer(), call).await.map(|_| ())
    }

    /// `DELETE /core/v1/authentications/{id}`. It can't be undone.
    ///
    /// # Errors
    /// [`TrayError`], by class; [`Class::Gone`] if it is not there.
    pub async fn delete(&self, acting: Acting<'_>, id: AuthenticationId) -> Result<(), TrayError> {
        let call = Call {
            name: "delete authentication",
            method: Method::DELETE,
            path: &format!("/core/v1/authentications/{id}"),
            body: None,
            repeat: Repeat::Harmless,
        };
        self.rest(acting.bearer(), call).await.map(|_| ())
    }

    /// `GET /core/v1/workspaces`: the first page, which for a workspace's token is the only one.
    pub(super) async fn workspaces(&self, token: &SecretString) -> Result<Vec<Workspace>, TrayError> {
        let all: Elements<_> = self.get(token, "list workspaces", "/core/v1/workspaces?first=100").await?;
        Ok(all.elements)
    }

    async fn environments(
        &self,
        token: &SecretString,
        service: &str,
        version: u32,
    ) -> Result<Vec<ServiceEnvironment>, TrayError> {
        let path = format!("/core/v1/services/{}/versions/{version}/environments", percent::encode(service));
        let all: Elements<_> = self.get(token, "list service environments", &path).await?;
        Ok(all.elements)
    }

    async fn get<T: DeserializeOwned>(
        &self,
        token: &SecretString,
        name: &'static str,
        path: &str,
    ) -> Result<T, TrayError> {
        let answer = self.get_bytes(token, name, path).await?;
        parse(&answer).map_err(|()| malformed(name, Class::RetryLater))
    }

    async fn get_bytes(&self, token: &SecretString, name: &'static str, path: &str) -> Result<SecretBytes, TrayError> {
        let call = Call { name, method: Method::GET, path, body: None, repeat: Repeat::Harmless };
        self.rest(token, call).await
    }
}

/// Whether Tray is to refresh the credentials with their service before it answers: slow, and only for those that
/// have expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// As Tray has them.
    AsItIs,
    /// Refreshed first.
    Force,
}

fn malformed(call: &'static str, class: Class) -> TrayError {
    TrayError { class, call, reason: MALFORMED, status: Some(200) }
}

fn to_json(body: &impl Serialize) -> SecretBytes {
    let json = serde_json::to_vec(body);
    SecretBytes::new(json.unwrap_or_else(|_| unreachable!("a request has string keys and plain values")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_type_is_known_in_every_wire_form() {
        let shared = |kind: &str| {
            let text = format!(r#"{{"id":"1","name":"n","type":{kind}}}"#);
            serde_json::from_str::<Workspace>(&text).expect("a workspace").is_shared()
        };
        assert!(shared(r#""Shared""#) && shared(r#""SHARED""#) && shared(r#"{"name":"Shared"}"#));
        assert!(!shared(r#""Personal""#) && !shared(r#"{"name":"Organization"}"#) && !shared("null"));
    }

    #[test]
    fn a_full_answer_must_have_both_objects() {
        let id = AuthenticationId(uuid::Uuid::from_u128(1));
        let full = |rest: &str| {
            FullAuthentication::new(SecretBytes::new(format!(r#"{{"id":"{id}","name":"n"{rest}}}"#).into_bytes()), id)
        };
        assert!(full(r#","userData":{},"credentials":{"a":1},"new":true"#).is_some());
        assert!(full(r#","userData":{}"#).is_none());
        assert!(full(r#","userData":{},"credentials":"text""#).is_none());
    }
}
