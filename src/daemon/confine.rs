//! What the daemon needs of its host: it gives up the rest before it has a second thread.

use std::{
    env, iter,
    path::{Path, PathBuf},
};

use reqwest::Url;

use crate::{
    config::{Config, Unlock},
    source::Source,
    system::{
        process,
        sandbox::{self, Needs, Sandbox},
    },
    unlock,
};

/// The port of name servers whose answers are too long for a datagram.
const DOMAIN: u16 = 53;

/// Gives it up, as far as the kernel can take it.
///
/// Whoever may look into other users' processes, root, keeps that: what is confined by Landlock sees no executable but its
/// own any more (ptrace(2), `PTRACE_MODE_READ_FSCREDS`), and the workflow guard goes by them where they can be seen.
pub(super) fn confine(config_path: &Path, config: &Config) -> Sandbox {
    if process::sees_executables() {
        tracing::info!(
            "not confined by Landlock: executables of callers are seen, and the workflow guard goes by them"
        );
        return Sandbox::None;
    }
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
    let files = files.chain([config_path.to_owned()]).chain(config_path.canonicalize());
    let directories = files.filter_map(|path| path.parent().map(above));
    let credentials = env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let urls = [tray.api_url(), tray.graphql_url()].into_iter().chain(tray.proxy.as_deref());
    let ports = urls.filter_map(|url| Url::parse(url).ok()?.port_or_known_default());
    Needs {
        writes: [state_directory.clone(), socket.directory.clone()]
            .into_iter()
            .chain(ingest.directory.as_deref().map(above))
            .chain(audit.anchor.file.as_deref().and_then(Path::parent).map(above))
            .collect(),
        reads: directories.chain(credentials).chain(tray.egress.clone()).collect(),
        asks: vault.unlock == Unlock::Prompt,
        starts_programs: !audit.anchor.command.is_empty(),
        ports: ports.chain(iter::once(DOMAIN)).collect(),
    }
}

/// What a directory is in, unless that is everything: what is permitted is so for what is there now, and one that is made
/// anew, mounted over or led to by a link that is switched is another.
fn above(directory: &Path) -> PathBuf {
    let parent = directory.parent().filter(|parent| parent.parent().is_some_and(|above| !above.as_os_str().is_empty()));
    parent.unwrap_or(directory).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_made_anew_is_still_within() {
        for (directory, permitted) in [
            ("/var/spool/trayvault", "/var/spool"),
            ("/mnt/elsewhere", "/mnt"),
            ("/drop", "/drop"),
            ("/", "/"),
            ("drop", "drop"),
            ("etc/drop", "etc/drop"),
        ] {
            assert_eq!(above(Path::new(directory)), Path::new(permitted), "{directory}");
        }
    }
}
