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
    body::parse,
    error::{Repeat, TrayError},
    transport::{Call, Tray},
};
use crate::secret::SecretString;

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
        let call = Call { name, method: Method::GET, path, body: None, repeat: Repeat::Harmless };
        self.rest(token, call, |answer| parse(&answer)).await
    }
}
