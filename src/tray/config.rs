//! `[tray]`: where Tray is, and how it is talked to.

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

/// `[tray]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The region; a token of one does not work in another.
    pub region: Region,
    /// The base URL of the REST API instead of the region's.
    pub api_url: Option<String>,
    /// The URL of the GraphQL API instead of the region's.
    pub graphql_url: Option<String>,
    /// How long a connection may take to open.
    #[serde(with = "crate::duration")]
    pub connect_timeout: Duration,
    /// How long a whole call may take.
    #[serde(with = "crate::duration")]
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            region: Region::Us,
            api_url: None,
            graphql_url: None,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
        }
    }
}

/// Tray's regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Region {
    /// The default one.
    Us,
    /// Europe.
    Eu,
    /// Asia-Pacific.
    Ap,
}

/// What is wrong with `[tray]`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Tokens would travel in the clear.
    #[error("{0} must be an https URL (plain http is for loopback only)")]
    NotHttps(&'static str),
    /// Not a URL.
    #[error("{0} is not a URL")]
    NotAUrl(&'static str),
    /// What has no place in a base URL, and might be a secret.
    #[error("{0} must have no user, query or fragment")]
    MoreThanAHost(&'static str),
    /// One URL of the two is given.
    #[error("api_url and graphql_url must be given together")]
    OneUrl,
    /// A timeout of zero.
    #[error("{0} must be longer than zero")]
    Zero(&'static str),
}

impl Config {
    /// Checks what the types can't.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.api_url.is_some() != self.graphql_url.is_some() {
            return Err(ConfigError::OneUrl);
        }
        for (key, url) in [("tray.api_url", &self.api_url), ("tray.graphql_url", &self.graphql_url)] {
            url.as_ref().map_or(Ok(()), |url| check_url(key, url))?;
        }
        for (key, span) in [("tray.connect_timeout", self.connect_timeout), ("tray.timeout", self.timeout)] {
            if span.is_zero() {
                return Err(ConfigError::Zero(key));
            }
        }
        Ok(())
    }

    /// Whether anything goes over TLS. On loopback nothing need.
    pub(super) fn uses_tls(&self) -> bool {
        [self.api_url(), self.graphql_url()].iter().any(|url| url.starts_with("https:"))
    }

    /// The base URL of the REST API, without a slash at its end.
    pub fn api_url(&self) -> &str {
        self.api_url.as_deref().map_or(
            match self.region {
                Region::Us => "https://api.tray.io",
                Region::Eu => "https://api.eu1.tray.io",
                Region::Ap => "https://api.ap1.tray.io",
            },
            |url| url.trim_end_matches('/'),
        )
    }

    /// The URL of the GraphQL API.
    pub fn graphql_url(&self) -> &str {
        self.graphql_url.as_deref().unwrap_or(match self.region {
            Region::Us => "https://tray.io/graphql",
            Region::Eu => "https://eu1.tray.io/graphql",
            Region::Ap => "https://ap1.tray.io/graphql",
        })
    }
}

fn check_url(key: &'static str, text: &str) -> Result<(), ConfigError> {
    let url = reqwest::Url::parse(text).map_err(|_| ConfigError::NotAUrl(key))?;
    let host = url.host_str().ok_or(ConfigError::NotAUrl(key))?;
    let more =
        !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some();
    if more {
        return Err(ConfigError::MoreThanAHost(key));
    }
    let address: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    let loopback = host == "localhost" || address.is_some_and(|address| address.is_loopback());
    match url.scheme() {
        "https" => Ok(()),
        "http" if loopback => Ok(()),
        _ => Err(ConfigError::NotHttps(key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_api_url(url: &str) -> Config {
        Config {
            api_url: Some(url.to_owned()),
            graphql_url: Some("https://tray.example/graphql".to_owned()),
            ..Config::default()
        }
    }

    #[test]
    fn a_region_names_both_hosts() {
        let eu = Config { region: Region::Eu, ..Config::default() };
        assert_eq!((eu.api_url(), eu.graphql_url()), ("https://api.eu1.tray.io", "https://eu1.tray.io/graphql"));
    }

    #[test]
    fn tokens_travel_in_the_clear_on_loopback_only() {
        for url in ["https://tray.example", "http://127.0.0.1:1", "http://[::1]:1/", "http://localhost:1"] {
            assert_eq!(with_api_url(url).validate(), Ok(()), "{url}");
        }
        for url in ["http://tray.example", "http://127.0.0.1.evil.example", "ftp://127.0.0.1"] {
            assert_eq!(with_api_url(url).validate(), Err(ConfigError::NotHttps("tray.api_url")), "{url}");
        }
    }
}
