//! Service environments, and the services there are: looked up once in a while.

use std::{sync::Arc, time::Duration};

use super::{
    document::ServiceReference,
    lookup::{LookupError, Lookups},
};
use crate::{
    principals::{Principals, Session},
    tray::{Class, Connector, ServiceEnvironment},
};

/// How long it is believed what Tray has.
const LIFETIME: Duration = Duration::from_secs(5 * 60);

/// How long it is believed what Tray does not have: somebody may be about to mend that.
const DOUBT: Duration = Duration::from_secs(30);

/// What is known of services and their environments.
pub(super) struct Environments {
    principals: Principals,
    /// `None` where Tray has no such service in that version.
    services: Lookups<(String, u32), Option<Arc<[ServiceEnvironment]>>>,
    connectors: Lookups<(), Arc<[Connector]>>,
}

/// A look-up's answer.
pub(super) enum Found {
    /// The environment.
    One(ServiceEnvironment),
    /// The service has no such environment; it has those with these titles.
    None(Vec<String>),
    /// Tray has no such service in that version.
    NoService(Offer),
}

/// What Tray has instead of a service that it does not have.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// The service of that name in these versions, in ascending order.
    Versions(Vec<u32>),
    /// No service of that name; these read like it.
    Names(Vec<String>),
    /// It does not say.
    Unknown,
}

impl Environments {
    /// Nothing is known yet.
    pub(super) fn new(principals: Principals) -> Self {
        Self { principals, services: Lookups::new(LIFETIME), connectors: Lookups::new(LIFETIME) }
    }

    /// The environment of a service that is `wanted`, as Tray tells it to the session's owner, or else to the
    /// organisation.
    pub(super) async fn find(
        &self,
        session: Option<&Session>,
        service: &ServiceReference,
        wanted: impl Fn(&ServiceEnvironment) -> bool,
    ) -> Result<Found, LookupError> {
        let key = (service.name.clone(), service.version);
        let believed = |known: &Option<Arc<[ServiceEnvironment]>>, age| {
            let has_it = known.as_ref().is_some_and(|all| all.iter().any(&wanted));
            age < if has_it { LIFETIME } else { DOUBT }
        };
        let ask = async {
            match self.principals.service_environments(session, &service.name, service.version).await {
                Ok(all) => Ok(Some(Arc::from(all))),
                Err(error) if matches!(error.class(), Some(Class::Gone | Class::BadInput)) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let Some(all) = self.services.find(key, believed, ask).await? else {
            return Ok(Found::NoService(self.offer(session, service).await));
        };
        let one = all.iter().find(|one| wanted(one));
        Ok(one.map_or_else(
            || Found::None(all.iter().map(|one| one.title.clone()).collect()),
            |one| Found::One(one.clone()),
        ))
    }

    /// What there is instead. That it can't be told is no reason to wait: that the service is not there is certain.
    async fn offer(&self, session: Option<&Session>, service: &ServiceReference) -> Offer {
        let believed = |all: &Arc<[Connector]>, age| {
            let has_it = !matches!(offer_of(all, &service.name), Offer::Names(_));
            age < if has_it { LIFETIME } else { DOUBT }
        };
        let ask = async { self.principals.connectors(session).await.map(Arc::from) };
        match self.connectors.find((), believed, ask).await {
            Ok(all) => offer_of(&all, &service.name),
            Err(error) => {
                tracing::debug!(what = error.what, "the connectors can't be listed");
                Offer::Unknown
            }
        }
    }
}

fn offer_of(connectors: &[Connector], name: &str) -> Offer {
    let services = || connectors.iter().filter_map(|one| Some((one, one.service.as_ref()?)));
    let mut versions: Vec<_> =
        services().filter(|(_, service)| service.name == name).map(|(_, service)| service.version).collect();
    versions.sort_unstable();
    versions.dedup();
    if !versions.is_empty() {
        return Offer::Versions(versions);
    }
    let name = letters(name);
    let reads_like = |(connector, service): &(&Connector, &crate::tray::ConnectorService)| {
        let names = [Some(&service.name), Some(&connector.name), connector.title.as_ref()];
        !name.is_empty() && names.into_iter().flatten().any(|one| letters(one) == name)
    };
    let mut names: Vec<_> = services().filter(reads_like).map(|(_, service)| service.name.clone()).collect();
    names.sort_unstable();
    names.dedup();
    Offer::Names(names)
}

/// A name without what people write differently.
fn letters(name: &str) -> String {
    name.chars().filter(|character| character.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_instead_of_a_service_is_told_by_name() {
        let connector = |name: &str, title: &str, service: &str, version: u32| {
            let text = format!(
                r#"{{"name":"{name}","title":"{title}","service":{{"id":"1","name":"{service}","version":{version}}}}}"#
            );
            serde_json::from_str::<Connector>(&text).expect("a connector")
        };
        let without: Connector = serde_json::from_str(r#"{"name":"csv-editor"}"#).expect("a connector");
        let all = [
            connector("salesforce-bulk", "Salesforce bulk", "salesforce", 3),
            connector("salesforce", "Salesforce", "salesforce", 2),
            connector("salesforce", "Salesforce", "salesforce", 3),
            connector("sheets", "Google Sheets", "google-sheets", 2),
            without,
        ];
        assert_eq!(offer_of(&all, "salesforce"), Offer::Versions(vec![2, 3]));
        let names = |name: &str| Offer::Names(vec![name.to_owned()]);
        assert_eq!(offer_of(&all, "Salesforce"), names("salesforce"));
        assert_eq!(offer_of(&all, "google_sheets"), names("google-sheets"));
        assert_eq!(offer_of(&all, "Salesforce Bulk"), names("salesforce"));
        for none in ["slack", "csv-editor", "-"] {
            assert_eq!(offer_of(&all, none), Offer::Names(Vec::new()), "{none}");
        }
    }
}
