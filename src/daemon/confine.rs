//! What the daemon needs of its host: it gives up the rest before it does anything else.

use std::{
    env, iter,
    path::{Path, PathBuf},
};

use reqwest::Url;

use crate::{
    config::{Config, Unlock},
    source::Source,
    system::sandbox::{self, Needs, Sandbox},
    unlock,
};

/// The port of name servers whose answers are too long for a datagram.
const DOMAIN: u16 = 53;

/// Gives it up, as far as the kernel can take it.
pub(super) fn confine(config_path: &Path, config: &Config) -> Sandbox {
    sandbox::enter(&needs(config_path, config)).unwrap_or_else(|error| {
        tracing::warn!(%error, "the daemon is not confined by Landlock");
        Sandbox::None
    })
}

fn needs(config_path: &Path, config: &Config) -> Needs {
    let Config { state_directory, tray, tokens, ingest, socket, audit, vault, .. } = config;
    let sources = [unlock::source(&vault.unlock), tokens.master.clone(), tokens.api_user.clone()];
    let files = sources.into_iter().flatten().filter_map(|source| match source {
        Source::File(path) => Some(path),
        Source::Credential(_) => None,
    });
    // Their directories: a file that is exchanged for another is another file.
    let files = files.chain(tray.ca_file.clone()).chain(config_path.canonicalize());
    let directories = files.filter_map(|path| path.parent().map(Path::to_owned));
    let variables = ["CREDENTIALS_DIRECTORY", "SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(env::var_os);
    let named = variables.flat_map(|paths| env::split_paths(&paths).collect::<Vec<_>>());
    let parent = |path: &PathBuf| path.parent().map(Path::to_owned);
    let urls = [tray.api_url(), tray.graphql_url()].into_iter().chain(tray.proxy.as_deref());
    let ports = urls.filter_map(|url| Url::parse(url).ok()?.port_or_known_default());
    Needs {
        writes: [state_directory.clone(), socket.directory.clone()]
            .into_iter()
            .chain(ingest.directory.clone())
            .chain(audit.anchor.file.as_ref().and_then(parent))
            .collect(),
        reads: directories.chain(named).chain(tray.egress.clone()).collect(),
        asks: vault.unlock == Unlock::Prompt,
        starts_programs: !audit.anchor.command.is_empty(),
        ports: ports.chain(iter::once(DOMAIN)).collect(),
    }
}
