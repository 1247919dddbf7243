//! The REST calls of the contract: what they share is here.

mod authentications;
mod catalogue;
mod full;

use reqwest::Method;
use serde::{Deserialize, de::DeserializeOwned};

pub use self::{
    authentications::{NewAuthentication, Replacement, Summary},
    catalogue::{Connector, ConnectorService, Scope, ServiceEnvironment},
    full::{FullAuthentication, FullView, Refresh},
};
use super::{
    body::{MALFORMED, parse},
    error::{Class, Repeat, TrayError},
    transport::{Call, Tray},
};
use crate::secret::{SecretBytes, SecretString};

#[derive(Deserialize)]
struct Elements<T> {
    elements: Vec<T>,
}

impl Tray {
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

fn malformed(call: &'static str, class: Class) -> TrayError {
    TrayError { class, call, reason: MALFORMED, status: Some(200) }
}
