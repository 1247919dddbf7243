//! Authentications without their secret: read, created, replaced, deleted.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    authentication::{AuthenticationId, ServiceEnvironmentId},
    secret::SecretBytes,
    tray::{
        body::parse,
        error::{Repeat, TrayError},
        token::Acting,
        transport::{Call, Tray},
    },
};

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

impl Tray {
    /// `GET /core/v1/authentications/{id}`: nothing sensitive.
    ///
    /// # Errors
    /// [`TrayError`], by class.
    pub async fn authentication(&self, acting: Acting<'_>, id: AuthenticationId) -> Result<Summary, TrayError> {
        self.get(acting.bearer(), "read authentication", &format!("/core/v1/authentications/{id}")).await
    }

    /// `POST /core/v1/authentications`, sent once.
    ///
    /// # Errors
    /// [`TrayError`], by class; [`Class::UnknownOutcome`](crate::tray::Class::UnknownOutcome) when it may have been created.
    pub async fn create(&self, acting: Acting<'_>, new: &NewAuthentication<'_>) -> Result<AuthenticationId, TrayError> {
        #[derive(Deserialize)]
        struct Created {
            id: AuthenticationId,
        }
        let call = Call {
            name: "create authentication",
            method: Method::POST,
            path: "/core/v1/authentications",
            body: Some(to_json(new)),
            repeat: Repeat::MakesAnother,
        };
        self.rest(acting.bearer(), call, |answer| parse::<Created>(&answer)).await.map(|created| created.id)
    }

    /// `PUT /core/v1/authentications/{id}`: the whole of it, sent once.
    ///
    /// # Errors
    /// [`TrayError`], by class; [`Class::UnknownOutcome`](crate::tray::Class::UnknownOutcome) when it may have been done.
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
            repeat: Repeat::Overwrites,
        };
        self.rest(acting.bearer(), call, |answer| parse::<Object>(&answer).map(drop)).await
    }

    /// `DELETE /core/v1/authentications/{id}`, sent once. It can't be undone.
    ///
    /// # Errors
    /// [`TrayError`], by class; [`Class::Gone`](crate::tray::Class::Gone) if it is not there,
    /// [`Class::UnknownOutcome`](crate::tray::Class::UnknownOutcome) when it may have been done.
    pub async fn delete(&self, acting: Acting<'_>, id: AuthenticationId) -> Result<(), TrayError> {
        let call = Call {
            name: "delete authentication",
            method: Method::DELETE,
            path: &format!("/core/v1/authentications/{id}"),
            body: None,
            repeat: Repeat::Overwrites,
        };
        // A page of somebody in between is no deletion.
        let is_empty = |answer: &SecretBytes| answer.expose_secret().trim_ascii().is_empty();
        self.rest(
            acting.bearer(),
            call,
            |answer| {
                if is_empty(&answer) { Ok(()) } else { parse::<Object>(&answer).map(drop) }
            },
        )
        .await
    }
}

/// An answer of which only the form matters.
#[derive(Deserialize)]
struct Object {}

fn to_json(body: &impl Serialize) -> SecretBytes {
    let json = serde_json::to_vec(body);
    SecretBytes::new(json.unwrap_or_else(|_| unreachable!("a request has string keys and plain values")))
}
