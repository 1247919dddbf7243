//! Service environments and their schemas: what a document must fit before anything leaves.

use serde_json::{Value, value::RawValue};

use super::{
    document::{EnvironmentReference, ServiceReference, Whole},
    environments::Found,
    plan::{Body, Obstacle, Planner},
    refusal::{Kind, Refusal, shown},
    schema::Schema,
};
use crate::{
    authentication::{Metadata, ServiceEnvironmentId},
    principals::Session,
    tray::{Class, ServiceEnvironment},
};

/// The service environment that a document names, as far as it can be told.
pub(super) struct Resolved {
    pub(super) id: ServiceEnvironmentId,
    service: Option<String>,
    /// With its schemas, if they could be looked up: that takes the service.
    pub(super) looked_up: Option<ServiceEnvironment>,
}

impl Resolved {
    /// For the trace.
    pub(super) fn service_name(&self) -> String {
        self.service.clone().unwrap_or_default()
    }
}

impl Planner {
    /// Resolves the environment of a new authentication.
    pub(super) async fn resolve(&self, whole: &Whole<'_>, session: &Session) -> Result<Resolved, Obstacle> {
        let Some(service) = &whole.service else {
            return match &whole.environment {
                EnvironmentReference::Id(id) => Ok(Resolved { id: id.clone(), service: None, looked_up: None }),
                EnvironmentReference::Title(_) => unreachable!("a document with a title names the service"),
            };
        };
        let wanted = |one: &ServiceEnvironment| match &whole.environment {
            EnvironmentReference::Title(title) => one.title == *title,
            EnvironmentReference::Id(id) => one.id == *id,
        };
        let found = match (self.environments.find(session, service, wanted).await, &whole.environment) {
            (Ok(found), _) => found,
            (Err(error), EnvironmentReference::Id(id)) if error.class() == Some(Class::NotPermitted) => {
                return Ok(Resolved { id: id.clone(), service: Some(service.name.clone()), looked_up: None });
            }
            (Err(error), EnvironmentReference::Title(_)) if error.class() == Some(Class::NotPermitted) => {
                let refusal = Refusal::new(Kind::Unresolved, "Tray does not list service environments for this owner");
                return Err(refusal.at("/environment").hint("give \"serviceEnvironmentId\"").into());
            }
            (Err(error), _) => {
                return Err(match error.class() {
                    Some(Class::Gone | Class::BadInput) => {
                        Refusal::new(Kind::Unresolved, "Tray has no such service in that version").at("/service").into()
                    }
                    Some(Class::TokenRejected) => Obstacle::TokenRejected,
                    _ => Obstacle::Later(error.to_string()),
                });
            }
        };
        match found {
            Found::One(one) => {
                Ok(Resolved { id: one.id.clone(), service: Some(service.name.clone()), looked_up: Some(one) })
            }
            Found::None(titles) => {
                let pointer = match &whole.environment {
                    EnvironmentReference::Title(_) => "/environment",
                    EnvironmentReference::Id(_) => "/serviceEnvironmentId",
                };
                let titles: Vec<_> = titles.iter().map(|title| format!("\"{}\"", shown(title))).collect();
                let refusal = Refusal::new(Kind::Unresolved, "the service has no such environment").at(pointer);
                Err(refusal.hint(format!("it has {}", titles.join(", "))).into())
            }
        }
    }

    /// The environment of an authentication that exists, with its schemas; `None` where Tray does not tell, which is no
    /// reason to stop an update.
    pub(super) async fn environment_of(
        &self,
        metadata: &Metadata,
        session: &Session,
    ) -> Result<Option<ServiceEnvironment>, Obstacle> {
        let service = ServiceReference::of_service(metadata.service.as_ref());
        let Some((service, environment)) = service.zip(metadata.environment.as_ref()) else { return Ok(None) };
        match self.environments.find(session, &service, |one| one.id == environment.id).await {
            Ok(Found::One(one)) => Ok(Some(one)),
            Ok(Found::None(_)) => Ok(None),
            Err(error) => match error.class() {
                Some(Class::NotPermitted | Class::NotEnabled | Class::Gone | Class::BadInput) => Ok(None),
                Some(Class::TokenRejected) => Err(Obstacle::TokenRejected),
                _ => Err(Obstacle::Later(error.to_string())),
            },
        }
    }
}

/// Checks a body against its environment's schemas; whether both could be.
///
/// # Errors
/// It breaks one of them.
pub(super) fn check(body: &Body<'_>, environment: Option<&ServiceEnvironment>, service: &str) -> Result<bool, Refusal> {
    let Some(environment) = environment else { return Ok(false) };
    let objects = [
        (&environment.user_data_schema, &*body.user_data, "/userData"),
        (&environment.credentials_schema, &*body.credentials, "/credentials"),
    ];
    let mut checked = true;
    for (schema, object, pointer) in objects {
        let schema = Schema::compile(schema);
        if !schema.is_usable() {
            tracing::warn!(
                service,
                object = pointer,
                "a service's schema can't be compiled: the check is left to Tray"
            );
            checked = false;
        }
        schema.check(&value(object)?, pointer)?;
    }
    Ok(checked)
}

/// Whether what is held satisfies its own environment's schemas.
pub(super) fn is_sound(user_data: &RawValue, credentials: &RawValue, environment: &ServiceEnvironment) -> bool {
    [(&environment.user_data_schema, user_data), (&environment.credentials_schema, credentials)]
        .into_iter()
        .all(|(schema, object)| value(object).is_ok_and(|object| Schema::compile(schema).allows(&object)))
}

/// The value that the schemas are checked on.
fn value(object: &RawValue) -> Result<Value, Refusal> {
    serde_json::from_str(object.get()).map_err(|_| Refusal::new(Kind::Document, "an object is nested too deeply"))
}
