//! Connectors, service environments and workspaces: what there is to have authentications for and in.

use serde::Deserialize;

use super::Elements;
use crate::{
    authentication::ServiceEnvironmentId,
    percent,
    secret::SecretString,
    tray::{
        error::TrayError,
        token::{Acting, MasterToken},
        transport::Tray,
    },
};

/// The first page of what workspaces a token sees.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::tray) struct Workspaces {
    elements: Vec<Workspace>,
    page_info: PageInfo,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageInfo {
    has_next_page: bool,
}

impl Workspaces {
    /// Those on the page, and whether there are more.
    pub(in crate::tray) fn seen(&self) -> (&[Workspace], bool) {
        (&self.elements, self.page_info.has_next_page)
    }
}

/// A connector, for the service behind it.
#[derive(Clone, Debug, Deserialize)]
pub struct Connector {
    /// The connector's name.
    pub name: String,
    /// Its title.
    pub title: Option<String>,
    /// Its version, such as `9.0`.
    pub version: Option<String>,
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
    /// `token`, `oauth1`, `oauth2`, `oauth2password`, `oauth2client_credentials` or `builtin`.
    pub authentication_type: Option<String>,
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

impl Scope {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Name(name) | Self::Described { scope: name } => name,
        }
    }
}

/// A workspace as its token sees it.
#[derive(Deserialize)]
pub(in crate::tray) struct Workspace {
    #[serde(rename = "type")]
    kind: serde_json::Value,
}

impl Workspace {
    /// Whether this is its type. The wire form is unstated: a string of any case, or an object that names it.
    pub(in crate::tray) fn is(&self, kind: &str) -> bool {
        let name = match &self.kind {
            serde_json::Value::Object(object) => object.get("name").or_else(|| object.get("type")),
            other => Some(other),
        };
        name.and_then(serde_json::Value::as_str).is_some_and(|name| name.eq_ignore_ascii_case(kind))
    }
}

impl Tray {
    /// `GET /core/v1/connectors`.
    ///
    /// # Errors
    /// [`TrayError`], by class.
    pub async fn connectors(&self, acting: Acting<'_>) -> Result<Vec<Connector>, TrayError> {
        self.all_connectors(acting.bearer()).await
    }

    /// The same with the organisation's token.
    ///
    /// # Errors
    /// [`TrayError`], by class.
    pub async fn connectors_of_organisation(&self, master: &MasterToken) -> Result<Vec<Connector>, TrayError> {
        self.all_connectors(master.bearer()).await
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

    /// `GET /core/v1/workspaces`: the first page, which for a workspace's token is the only one.
    pub(in crate::tray) async fn workspaces(&self, token: &SecretString) -> Result<Workspaces, TrayError> {
        self.get(token, "list workspaces", "/core/v1/workspaces?first=100").await
    }

    async fn all_connectors(&self, token: &SecretString) -> Result<Vec<Connector>, TrayError> {
        let all: Elements<_> = self.get(token, "list connectors", "/core/v1/connectors").await?;
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_type_is_known_in_every_wire_form() {
        let is = |kind: &str, form: &str| {
            let text = format!(r#"{{"id":"1","name":"n","type":{form}}}"#);
            serde_json::from_str::<Workspace>(&text).expect("a workspace").is(kind)
        };
        for form in [r#""Shared""#, r#""SHARED""#, r#"{"name":"Shared"}"#, r#"{"type":"shared"}"#] {
            assert!(is("Shared", form) && !is("Organization", form), "{form}");
        }
        for form in [r#""Personal""#, r#"{"name":"ORGANIZATION"}"#, "null", "5"] {
            assert!(!is("Shared", form), "{form}");
        }
        assert!(is("Organization", r#"{"name":"ORGANIZATION"}"#));
    }
}
