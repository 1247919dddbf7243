//! Connectors, services and their environments.

mod blueprints;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::schema::Check;
use super::seed::Stream;
use super::views::EnvironmentView;
use blueprints::Blueprint;

/// How long a freshly issued access token lives.
const ACCESS_TOKEN_LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// Everything that can be authenticated with.
#[derive(Debug)]
pub(super) struct Catalogue {
    pub(super) services: Vec<Service>,
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) id: Uuid,
    pub(super) blueprint: Blueprint,
    pub(super) environments: Vec<Environment>,
}

#[derive(Debug)]
pub(super) struct Environment {
    pub(super) id: Uuid,
    pub(super) title: &'static str,
    pub(super) credentials: Check,
    pub(super) user_data: Check,
}

impl Catalogue {
    pub(super) fn drawn_from(stream: &mut Stream) -> Self {
        let services = blueprints::all().into_iter().map(|blueprint| Service::drawn_from(stream, blueprint)).collect();
        Self { services }
    }

    /// The environment with this id and the service it belongs to.
    pub(super) fn environment(&self, id: Uuid) -> Option<(&Service, &Environment)> {
        self.services.iter().find_map(|service| {
            service.environments.iter().find(|environment| environment.id == id).map(|found| (service, found))
        })
    }

    pub(super) fn service(&self, name: &str, version: u32) -> Option<&Service> {
        self.services.iter().find(|service| service.blueprint.name == name && service.blueprint.version == version)
    }

    pub(super) fn environments(&self) -> Vec<EnvironmentView> {
        let views = self.services.iter().flat_map(|service| {
            service.environments.iter().map(|environment| EnvironmentView {
                id: environment.id,
                title: environment.title.to_owned(),
                service_id: service.id,
                service: service.blueprint.name.to_owned(),
                service_version: service.blueprint.version,
            })
        });
        views.collect()
    }

    /// `GET /core/v1/connectors`: the newest connector of each service, and one service shared by two connectors.
    pub(super) fn connectors(&self) -> Value {
        let mut elements: Vec<Value> = self.services.iter().map(|service| service.connector("")).collect();
        elements.extend(self.services.first().map(|service| service.connector("-bulk")));
        json!({"elements": elements})
    }
}

impl Service {
    fn drawn_from(stream: &mut Stream, blueprint: Blueprint) -> Self {
        let id = stream.uuid("service");
        let environments = blueprint.environments.iter().map(|&title| Environment {
            id: stream.uuid("environment"),
            title,
            credentials: Check::compile(&blueprint.credentials_schema),
            user_data: Check::compile(&blueprint.user_data_schema),
        });
        let environments = environments.collect();
        Self { id, blueprint, environments }
    }

    /// Credentials in the service's own style.
    pub(super) fn issue(&self, stream: &mut Stream, now: Timestamp) -> Map<String, Value> {
        (self.blueprint.issue)(stream, expiry(now))
    }

    pub(super) fn is_refreshable(&self) -> bool {
        self.blueprint.authentication_type.starts_with("oauth2")
    }

    /// The `elements` of a service's environments.
    pub(super) fn environment_list(&self) -> Value {
        let elements = self.environments.iter().map(|environment| {
            json!({
                "id": environment.id,
                "title": environment.title,
                "authenticationType": self.blueprint.authentication_type,
                "userDataSchema": self.blueprint.user_data_schema,
                "credentialsSchema": self.blueprint.credentials_schema,
                "scopes": self.blueprint.scopes,
            })
        });
        json!({"elements": elements.collect::<Vec<_>>()})
    }

    fn connector(&self, suffix: &str) -> Value {
        let Blueprint { name, title, version, .. } = &self.blueprint;
        json!({
            "name": format!("{name}{suffix}"),
            "title": title,
            "description": format!("Work with {title}."),
            "version": format!("{}.0", version + 5),
            "service": {"id": self.id, "name": name, "version": version},
        })
    }
}

/// What `forceRefresh` does: a new access token and, where there is one, a new expiry in the form it had.
pub(super) fn refresh(credentials: &mut Map<String, Value>, stream: &mut Stream, now: Timestamp) {
    /// Below this a number of seconds since the epoch, above it of milliseconds.
    const SECONDS_BELOW: i64 = 100_000_000_000;
    let expiry = expiry(now);
    for (key, value) in credentials {
        match key.as_str() {
            "access_token" | "accessToken" | "token" => *value = stream.secret("access").into(),
            "expires_at" | "expiresAt" | "expiry" => match value.as_i64() {
                Some(old) if old < SECONDS_BELOW => *value = expiry.as_second().into(),
                Some(_) => *value = expiry.as_millisecond().into(),
                None => *value = expiry.to_string().into(),
            },
            _ => {}
        }
    }
}

fn expiry(now: Timestamp) -> Timestamp {
    now.saturating_add(ACCESS_TOKEN_LIFETIME).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_accepts_what_it_issues_and_three_accept_anything() {
        let mut stream = Stream::new(1);
        let catalogue = Catalogue::drawn_from(&mut stream);
        let mut undemanding = Vec::new();
        for service in &catalogue.services {
            let issued = service.issue(&mut stream, Timestamp::now());
            for environment in &service.environments {
                assert_eq!(environment.credentials.check("credentials", &issued), Ok(()));
            }
            if service.environments[0].credentials.check("credentials", &Map::new()).is_ok() {
                undemanding.push(service.blueprint.name);
            }
        }
        assert_eq!(undemanding, ["http-client", "google-sheets", "hubspot"]);
    }

    #[test]
    fn a_refresh_keeps_the_form_of_the_expiry() {
        let mut stream = Stream::new(1);
        let catalogue = Catalogue::drawn_from(&mut stream);
        let later = Timestamp::now() + SignedDuration::from_hours(9);
        for service in catalogue.services.iter().filter(|service| service.is_refreshable()) {
            let mut credentials = service.issue(&mut stream, Timestamp::now());
            refresh(&mut credentials, &mut stream, later);
            let issued_later = service.issue(&mut stream, later);
            for key in ["expires_at", "expiresAt", "expiry", "expiresIn"] {
                assert_eq!(credentials.get(key), issued_later.get(key), "{}", service.blueprint.name);
            }
        }
    }
}
