//! What there is to have authentications for: services, and their environments.

use super::{PrincipalError, Principals, Session, Tokens};
use crate::tray::{Acting, Connector, MasterToken, ServiceEnvironment};

impl Principals {
    /// The environments of a service. Tray lists them for end users and for the organisation, but not for an API user:
    /// for a workspace, and where there is no session, it is the master token that asks, where there is one.
    ///
    /// # Errors
    /// [`PrincipalError`].
    pub async fn service_environments(
        &self,
        session: Option<&Session>,
        service: &str,
        version: u32,
    ) -> Result<Vec<ServiceEnvironment>, PrincipalError> {
        let tokens = self.tokens()?;
        Ok(match Reader::of(session, &tokens)? {
            Reader::Owner(acting) => self.tray.service_environments(acting, service, version).await?,
            Reader::Organisation(master) => {
                self.tray.service_environments_of_organisation(master, service, version).await?
            }
        })
    }

    /// The connectors, and with them the services; asked for as [`Self::service_environments`] are.
    ///
    /// # Errors
    /// [`PrincipalError`].
    pub async fn connectors(&self, session: Option<&Session>) -> Result<Vec<Connector>, PrincipalError> {
        let tokens = self.tokens()?;
        Ok(match Reader::of(session, &tokens)? {
            Reader::Owner(acting) => self.tray.connectors(acting).await?,
            Reader::Organisation(master) => self.tray.connectors_of_organisation(master).await?,
        })
    }
}

/// Who asks for what there is to have authentications for.
enum Reader<'a> {
    Owner(Acting<'a>),
    Organisation(&'a MasterToken),
}

impl<'a> Reader<'a> {
    fn of(session: Option<&'a Session>, tokens: &'a Tokens) -> Result<Self, PrincipalError> {
        Ok(match (session, &tokens.master) {
            (Some(Session::Workspace(_)), Some(master)) => Self::Organisation(master),
            (Some(session), _) => Self::Owner(session.acting()),
            (None, _) => Self::Organisation(tokens.master()?),
        })
    }
}
