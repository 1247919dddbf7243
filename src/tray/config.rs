//! `[tray]`: where Tray is, and how it is talked to.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::budget::BURSTS;

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
    /// How long it may take from sending, which may open a connection first, to the answer's head.
    #[serde(with = "crate::duration")]
    pub header_timeout: Duration,
    /// How long it may take from the answer's head to its end.
    #[serde(with = "crate::duration")]
    pub body_timeout: Duration,
    /// The most requests in any one second, 31 to 50. No minute has more than 1,800, whatever it is.
    pub burst: u32,
    /// A PEM file of root certificates to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The URL of a forward proxy for what goes over TLS, which ends here: the proxy sees ciphertext only.
    pub proxy: Option<String>,
    /// A directory with a Unix socket `HOST.sock` for each host of Tray's, for a daemon without a network: what listens
    /// there passes bytes on to that host. TLS ends here, as it does without.
    pub egress: Option<PathBuf>,
    /// Never asks Tray: what is held is served.
    pub offline: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            region: Region::Us,
            api_url: None,
            graphql_url: None,
            connect_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            burst: 50,
            ca_file: None,
            proxy: None,
            egress: None,
            offline: false,
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
    /// A burst that Tray does not permit, or none at all.
    #[error("tray.burst must be from {} to {}", BURSTS.start(), BURSTS.end())]
    Burst,
    /// A path that depends on where the daemon was started.
    #[error("{0} is not an absolute path")]
    NotAbsolute(&'static str),
    /// Not the URL of a proxy, which has a host and a port and might have a secret.
    #[error("tray.proxy must be the URL of an http or https proxy, without user, path, query or fragment")]
    Proxy,
    /// Two ways to Tray.
    #[error("tray.proxy and tray.egress exclude each other")]
    TwoWays,
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
        for (key, span) in [
            ("tray.connect_timeout", self.connect_timeout),
            ("tray.header_timeout", self.header_timeout),
            ("tray.body_timeout", self.body_timeout),
        ] {
            if span.is_zero() {
                return Err(ConfigError::Zero(key));
            }
        }
        if !BURSTS.contains(&self.burst) {
            return Err(ConfigError::Burst);
        }
        for (key, path) in [("tray.ca_file", &self.ca_file), ("tray.egress", &self.egress)] {
            if path.as_ref().is_some_and(|path| !path.is_absolute()) {
                return Err(ConfigError::NotAbsolute(key));
            }
        }
        if self.proxy.as_deref().is_some_and(|proxy| !is_proxy(proxy)) {
            return Err(ConfigError::Proxy);
        }
        if self.proxy.is_some() && self.egress.is_some() {
            return Err(ConfigError::TwoWays);
        }
        Ok(())
    }

    /// Whether anything goes over TLS. On loopback nothing need.
    pub(super) fn uses_tls(&self) -> bool {
        [self.api_url(), self.graphql_url()].iter().any(|url| url.starts_with("https:"))
    }

    /// The socket through which the host of a URL is reached, if not over a network. A URL's port is not in its name:
    /// what listens there knows where it passes things on to.
    pub fn egress_socket(&self, url: &str) -> Option<PathBuf> {
        let directory = self.egress.as_ref()?;
        let url = reqwest::Url::parse(url).ok()?;
        Some(directory.join(format!("{}.sock", url.host_str()?)))
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

/// The host of a URL, with its port where that is not the scheme's own: nothing else of it. Empty for what is no URL.
pub(super) fn host_of(url: &str) -> String {
    let url = reqwest::Url::parse(url).ok();
    let host = url.as_ref().and_then(|url| Some((url.host_str()?, url.port())));
    match host {
        Some((host, Some(port))) => format!("{host}:{port}"),
        Some((host, None)) => host.to_owned(),
        None => String::new(),
    }
}

fn is_proxy(text: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(text) else { return false };
    matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
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
    fn what_makes_no_sense_is_refused() {
        let refused = |config: Config| config.validate().expect_err("wrong");
        for burst in [0, 30, 51, u32::MAX] {
            assert_eq!(refused(Config { burst, ..Config::default() }), ConfigError::Burst);
        }
        for burst in 31..=50 {
            assert_eq!(Config { burst, ..Config::default() }.validate(), Ok(()));
        }
        let ca_file = Some(PathBuf::from("ca.pem"));
        assert_eq!(refused(Config { ca_file, ..Config::default() }), ConfigError::NotAbsolute("tray.ca_file"));
        let egress = Some(PathBuf::from("egress"));
        assert_eq!(refused(Config { egress, ..Config::default() }), ConfigError::NotAbsolute("tray.egress"));
        let (egress, proxy) = (Some(PathBuf::from("/egress")), Some("http://proxy.example:3128".to_owned()));
        assert_eq!(refused(Config { proxy, egress, ..Config::default() }), ConfigError::TwoWays);
        let body_timeout = Duration::ZERO;
        assert_eq!(refused(Config { body_timeout, ..Config::default() }), ConfigError::Zero("tray.body_timeout"));
    }

    #[test]
    fn a_proxy_is_a_host_and_a_port() {
        let with = |proxy: &str| Config { proxy: Some(proxy.to_owned()), ..Config::default() };
        for proxy in ["http://proxy.example:3128", "https://proxy.example/", "http://[::1]:1"] {
            assert_eq!(with(proxy).validate(), Ok(()), "{proxy}");
        }
        for proxy in [
            "proxy.example:3128",
            "socks5://proxy.example",
            "http://canary@proxy.example",
            "http://u:canary@proxy.example",
            "http://proxy.example/canary",
            "http://proxy.example?canary",
            "http://proxy.example#canary",
        ] {
            let error = with(proxy).validate().expect_err(proxy);
            assert_eq!(error, ConfigError::Proxy);
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
    }

    #[test]
    fn of_a_url_only_the_host_and_its_port_are_shown() {
        assert_eq!(host_of("https://api.tray.io/core?x#y"), "api.tray.io");
        assert_eq!(host_of("https://tray.example:443/graphql"), "tray.example");
        assert_eq!(host_of("http://127.0.0.1:8080"), "127.0.0.1:8080");
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
