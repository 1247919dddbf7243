//! How Tray is connected to: whom to trust, and through what.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{Certificate, Client, Proxy};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::config::Config;

/// How long a connection is kept for the next call: its buffers hold the last one's head, with the token.
const IDLE_CONNECTION: Duration = Duration::from_millis(500);

/// The largest `tray.ca_file` that is read, in bytes: more than all of a system's roots.
const CA_FILE_LIMIT: u64 = 4 * 1024 * 1024;

/// Why no client could be built.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The system has no usable root certificates, or what is configured is no way to Tray.
    #[error("the HTTP client can't be set up")]
    Client(#[source] reqwest::Error),
    /// The certificates to trust besides the system's can't be read.
    #[error("tray.ca_file {} can't be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// They are not what they should be.
    #[error("tray.ca_file {} {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong; nothing of what is in it.
        reason: &'static str,
    },
}

impl SetUpError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Client(_) => {
                Some("are root certificates installed? On Debian: apt-get install ca-certificates".to_owned())
            }
            Self::Unreadable { .. } => Some("check its path, owner and mode".to_owned()),
            Self::Unusable { .. } => {
                Some("it holds root certificates as PEM, and only their keeper may write to it".to_owned())
            }
        }
    }
}

/// Builds the HTTP client for what is at `url`: no redirects, no retries, no proxies of the environment's.
pub(super) fn client(config: &Config, url: &str) -> Result<Client, SetUpError> {
    // A second daemon in one process (in tests) finds it installed, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let extra_roots = config.ca_file.as_deref().map_or_else(|| Ok(Vec::new()), roots)?;
    let builder = if config.uses_tls() {
        Client::builder().tls_certs_merge(extra_roots)
    } else {
        // So that a host without root certificates can try things out.
        Client::builder().tls_certs_only([])
    };
    let builder = builder
        .user_agent(concat!("trayvault/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(config.connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .retry(reqwest::retry::never())
        .pool_idle_timeout(IDLE_CONNECTION);
    let builder = match &config.proxy {
        Some(proxy) => builder.proxy(Proxy::https(proxy).map_err(SetUpError::Client)?),
        None => builder,
    };
    let builder = match config.egress_socket(url) {
        Some(socket) => builder.unix_socket(socket),
        None => builder,
    };
    builder.build().map_err(SetUpError::Client)
}

/// The root certificates in a PEM file.
fn roots(path: &Path) -> Result<Vec<Certificate>, SetUpError> {
    let unreadable = |source| SetUpError::Unreadable { path: path.to_owned(), source };
    let unusable = |reason| SetUpError::Unusable { path: path.to_owned(), reason };
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.permissions().mode() & 0o002 != 0 {
        return Err(unusable("may be written to by anybody, and it decides who is taken for Tray"));
    }
    let mut pem = Vec::new();
    file.take(CA_FILE_LIMIT).read_to_end(&mut pem).map_err(unreadable)?;
    let (mut store, mut roots) = (RootCertStore::empty(), Vec::new());
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| unusable("is not PEM"))?;
        let root = Certificate::from_der(&certificate).map_err(SetUpError::Client)?;
        store.add(certificate).map_err(|_| unusable("has something that is no certificate"))?;
        roots.push(root);
    }
    if roots.is_empty() { Err(unusable("has no certificate in it")) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn refused(content: &str, mode: u32) -> String {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ca.pem");
        fs::write(&path, content).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        let config = Config { ca_file: Some(path.clone()), ..Config::default() };
        let error = client(&config, config.api_url()).expect_err("refused");
        let text = error.to_string();
        assert!(text.contains("tray.ca_file") && text.contains(&path.display().to_string()), "{text}");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        text
    }

    #[test]
    fn a_file_without_certificates_is_named_and_not_quoted() {
        assert!(refused("", 0o644).contains("has no certificate"));
        assert!(refused("canary", 0o644).contains("has no certificate"));
        let pem = |content: &str| format!("-----BEGIN CERTIFICATE-----\n{content}\n-----END CERTIFICATE-----\n");
        assert!(refused(&pem("canary!"), 0o644).contains("is not PEM"));
        assert!(refused(&pem("Y2FuYXJ5"), 0o644).contains("no certificate"));
        assert!(refused(&pem("Y2FuYXJ5"), 0o646).contains("by anybody"));
        let ca_file = Some(PathBuf::from("/nonexistent/ca.pem"));
        let config = Config { ca_file, ..Config::default() };
        let error = client(&config, config.api_url()).expect_err("refused");
        assert_eq!(error.to_string(), "tray.ca_file /nonexistent/ca.pem can't be read");
    }
}
