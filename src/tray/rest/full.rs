//! The full read: the one call whose answer holds a secret.

use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    authentication::{AuthenticationId, ServiceEnvironmentId},
    secret::SecretBytes,
    tray::{
        body::{MALFORMED, Unfit, parse},
        error::{Class, Repeat, TrayError},
        token::FullReadPermit,
        transport::{Call, Tray},
    },
};

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
    fn new(body: SecretBytes, id: AuthenticationId) -> Result<Self, Unfit> {
        let view: FullView<'_> = parse(&body)?;
        let is_object = |value: &RawValue| value.get().starts_with('{');
        // What is in members that nobody reads here is passed on all the same (RFC 8259, section 8.1).
        let is_text = std::str::from_utf8(body.expose_secret()).is_ok();
        let whole = is_text && view.id == id && is_object(view.user_data) && is_object(view.credentials);
        if whole { Ok(Self(body)) } else { Err(Unfit::Misshapen) }
    }

    /// What the answer says.
    ///
    /// # Errors
    /// None that can happen: the answer was read once already.
    pub fn view(&self) -> Result<FullView<'_>, TrayError> {
        let malformed = TrayError { class: Class::RetryLater, call: Self::CALL, reason: MALFORMED, status: Some(200) };
        parse(&self.0).map_err(|_| malformed)
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

/// Whether Tray is to refresh the credentials with their service before it answers: slow, and only for those that
/// have expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// As Tray has them.
    AsItIs,
    /// Refreshed first.
    Force,
}

impl Tray {
    /// `GET /core/v1/authentications/{id}/full`; a forced refresh is sent once.
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
        match self.read_in_full(&permit, id, refresh).await {
            Err(error) if error.class == Class::NotPermitted => {
                Err(match self.authentication(permit.acting(), id).await {
                    Ok(_) => not_enabled(&error),
                    Err(refused) if refused.class == Class::NotPermitted => error,
                    // The question was not answered: that says nothing of the permission.
                    Err(other) => other,
                })
            }
            answered => answered,
        }
    }

    /// The same as it is, with one request, where full reads were not enabled when they were asked for last: a refusal
    /// says that they are not yet.
    ///
    /// # Errors
    /// [`TrayError`], by class.
    pub async fn probe_full(
        &self,
        permit: FullReadPermit<'_>,
        id: AuthenticationId,
    ) -> Result<FullAuthentication, TrayError> {
        let answered = self.read_in_full(&permit, id, Refresh::AsItIs).await;
        answered.map_err(|error| if error.class == Class::NotPermitted { not_enabled(&error) } else { error })
    }

    async fn read_in_full(
        &self,
        permit: &FullReadPermit<'_>,
        id: AuthenticationId,
        refresh: Refresh,
    ) -> Result<FullAuthentication, TrayError> {
        let (query, repeat) = match refresh {
            Refresh::AsItIs => ("", Repeat::Harmless),
            Refresh::Force => ("?forceRefresh=true", Repeat::Deliberate),
        };
        let path = format!("/core/v1/authentications/{id}/full{query}");
        let call = Call { name: FullAuthentication::CALL, method: Method::GET, path: &path, body: None, repeat };
        self.rest(permit.acting().bearer(), call, |body| FullAuthentication::new(body, id)).await
    }
}

fn not_enabled(refused: &TrayError) -> TrayError {
    let TrayError { call, status, .. } = *refused;
    TrayError { class: Class::NotEnabled, call, reason: "the full read is not enabled for this organisation", status }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_answer_must_have_both_objects() {
        let id = AuthenticationId(uuid::Uuid::from_u128(1));
        let full = |rest: &str| {
            FullAuthentication::new(SecretBytes::new(format!(r#"{{"id":"{id}","name":"n"{rest}}}"#).into_bytes()), id)
                .is_ok()
        };
        assert!(full(r#","userData":{},"credentials":{"a":1},"new":true"#));
        assert!(!full(r#","userData":{}"#));
        assert!(!full(r#","userData":{},"credentials":"text""#));
    }
}
