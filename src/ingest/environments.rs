//! Service environments, looked up once in a while for each service.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::document::ServiceReference;
use crate::{
    principals::{PrincipalError, Principals, Session},
    tray::ServiceEnvironment,
};

/// How long a service's environments are believed.
const LIFETIME: Duration = Duration::from_secs(5 * 60);

/// What is known of services' environments.
pub(super) struct Environments {
    principals: Principals,
    known: Mutex<HashMap<(String, u32), Known>>,
}

#[derive(Clone)]
struct Known {
    at: Instant,
    all: Arc<[ServiceEnvironment]>,
}

/// A look-up's answer.
pub(super) enum Found {
    /// The environment.
    One(ServiceEnvironment),
    /// The service has no such environment; it has those with these titles.
    None(Vec<String>),
}

impl Environments {
    /// Nothing is known yet.
    pub(super) fn new(principals: Principals) -> Self {
        Self { principals, known: Mutex::default() }
    }

    /// The environment of a service that is `wanted`. What is remembered is asked for again before it is said that
    /// there is none: it may be new.
    pub(super) async fn find(
        &self,
        session: &Session,
        service: &ServiceReference,
        wanted: impl Fn(&ServiceEnvironment) -> bool,
    ) -> Result<Found, PrincipalError> {
        let key = (service.name.clone(), service.version);
        let remembered = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(Known { at, all }) = remembered
            && at.elapsed() < LIFETIME
            && let Some(one) = all.iter().find(|one| wanted(one))
        {
            return Ok(Found::One(one.clone()));
        }
        let all: Arc<[_]> = self.principals.service_environments(session, &service.name, service.version).await?.into();
        let known = Known { at: Instant::now(), all: Arc::clone(&all) };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, known);
        let one = all.iter().find(|one| wanted(one));
        Ok(one.map_or_else(
            || Found::None(all.iter().map(|one| one.title.clone()).collect()),
            |one| Found::One(one.clone()),
        ))
    }
}
