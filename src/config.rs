//! The configuration file: strict TOML, read into the types of the components. It names where secrets are, and has none.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;

use crate::{audit, crypto::sha256, ingest, policy, socket, source::Source, sync, system::accounts, tray, unlock};

/// Where the configuration is unless told otherwise.
pub const DEFAULT_PATH: &str = "/etc/trayvault/trayvault.toml";

/// The whole configuration. Every key has a default but the tokens, of which at least one is needed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the vault, the cache, the journal and the audit log are.
    pub state_directory: PathBuf,
    /// How the vault is unlocked.
    pub vault: Vault,
    /// Where Tray is.
    pub tray: tray::Config,
    /// Whom to act as.
    pub tokens: Tokens,
    /// When to synchronise.
    pub sync: sync::Config,
    /// The drop directory.
    pub ingest: ingest::Config,
    /// The local API.
    pub socket: socket::Config,
    /// `[pull]`: what may be pulled in full.
    pub pull: policy::PullConfig,
    /// `[access]`: who may read what.
    pub access: policy::AccessConfig,
    /// `[[credential]]`: which systemd units get which credentials.
    pub credential: Vec<policy::CredentialRule>,
    /// `[workflow_guard]`: who never gets a secret.
    pub workflow_guard: policy::GuardConfig,
    /// `[audit]`: what the audit log keeps.
    pub audit: audit::Config,
    /// `[log]`: what is logged.
    pub log: Log,
}

/// `[vault]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Vault {
    /// The key slot's source.
    pub unlock: Unlock,
}

/// Where the key that unlocks the vault comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unlock {
    /// A file of 32 random bytes; `init` makes it.
    KeyFile(PathBuf),
    /// A systemd credential of 32 random bytes.
    KeyCredential(String),
    /// A file with a passphrase.
    PassphraseFile(PathBuf),
    /// A systemd credential with a passphrase.
    PassphraseCredential(String),
    /// A passphrase, asked for on the terminal.
    Prompt,
}

impl Default for Vault {
    fn default() -> Self {
        Self { unlock: Unlock::KeyCredential("vault.key".to_owned()) }
    }
}

/// `[tokens]`: where Tray's tokens are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tokens {
    /// The master token, to act as embedded end users.
    pub master: Option<Source>,
    /// The token of an API user of a shared workspace.
    pub api_user: Option<Source>,
}

/// `[log]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The lowest level that is logged.
    pub level: Level,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: Level::Info }
    }
}

/// A level of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the field's")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_directory: PathBuf::from("/var/lib/trayvault"),
            vault: Vault::default(),
            tray: tray::Config::default(),
            tokens: Tokens::default(),
            sync: sync::Config::default(),
            ingest: ingest::Config::default(),
            socket: socket::Config::default(),
            pull: policy::PullConfig::default(),
            access: policy::AccessConfig::default(),
            credential: Vec::new(),
            workflow_guard: policy::GuardConfig::default(),
            audit: audit::Config::default(),
            log: Log::default(),
        }
    }
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("the configuration {} can't be read", path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// It is not what the types take.
    #[error("the configuration {}{at} is wrong: {reason}", path.display())]
    Malformed {
        /// Its path.
        path: PathBuf,
        /// Line and key.
        at: Place,
        /// What is wrong; never a value.
        reason: String,
    },
    /// A value does not make sense.
    #[error("the configuration {} is wrong: {reason}", path.display())]
    Invalid {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// What to do about it.
        hint: &'static str,
    },
}

/// A place in a configuration.
#[derive(Debug)]
pub struct Place {
    line: Option<usize>,
    key: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if self.key != "." {
            write!(f, ", {}", self.key.split('.').map(shown_key).collect::<Vec<_>>().join("."))?;
        }
        Ok(())
    }
}

impl ConfigError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "name it with --config FILE or TRAYVAULT_CONFIG".to_owned()
            }
            Self::Unreadable { .. } => "check its owner and mode".to_owned(),
            Self::Malformed { at, .. } if at.key.starts_with("tokens") => {
                "a token is given by reference, such as { file = \"/etc/trayvault/master.token\" } or { credential = \"master.token\" }"
                    .to_owned()
            }
            Self::Malformed { .. } => "config/trayvault.toml shows every key with its default".to_owned(),
            Self::Invalid { hint, .. } => (*hint).to_owned(),
        }
    }
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_with_digest(path).map(|(config, _)| config)
    }

    /// The same, and the SHA-256 of its text.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load_with_digest(path: &Path) -> Result<(Self, [u8; 32]), ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode();
        if mode & 0o002 != 0 {
            let reason = "anybody may write to it, and it decides who reads".to_owned();
            return Err(ConfigError::Invalid { path: path.to_owned(), reason, hint: "chmod o-w" });
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(unreadable)?;
        let config = Self::parse(&text, path)?;
        config.policy(path)?;
        Ok((config, sha256(text.as_bytes())))
    }

    fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let malformed = |error: &toml::de::Error, key: String| ConfigError::Malformed {
            path: path.to_owned(),
            at: Place { line: error.span().map(|span| text[..span.start].matches('\n').count() + 1), key },
            reason: without_values(error.message()),
        };
        let document = toml::Deserializer::parse(text).map_err(|error| malformed(&error, ".".to_owned()))?;
        let config: Self = serde_path_to_error::deserialize(document)
            .map_err(|error| malformed(error.inner(), error.path().to_string()))?;
        config.validate().map_err(|(reason, hint)| ConfigError::Invalid { path: path.to_owned(), reason, hint })?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), (String, &'static str)> {
        if self.tokens.master.is_none() && self.tokens.api_user.is_none() {
            let hint =
                "set tokens.master to act as embedded end users, or tokens.api_user to act in a shared workspace";
            return Err(("it names no token".to_owned(), hint));
        }
        self.check_sources()?;
        self.tray.validate().map_err(|error| (error.to_string(), "see [tray] in config/trayvault.toml"))?;
        self.sync.validate().map_err(|error| (error.to_string(), "see [sync] in config/trayvault.toml"))?;
        self.ingest.validate().map_err(|error| (error.to_string(), "see [ingest] in config/trayvault.toml"))?;
        self.audit.validate().map_err(|reason| (reason.to_owned(), "see [audit] in config/trayvault.toml"))?;
        if self.socket.group.as_deref().is_some_and(|group| accounts::gid(group).is_none()) {
            return Err((
                "socket.group names a group that this system does not know".to_owned(),
                "make the group, or leave the key out",
            ));
        }
        Ok(())
    }

    /// Nothing here is quoted: it may be a secret where its source should be.
    fn check_sources(&self) -> Result<(), (String, &'static str)> {
        let unlock = unlock::source(&self.vault.unlock);
        let sources = [
            ("vault.unlock", unlock.as_ref()),
            ("tokens.master", self.tokens.master.as_ref()),
            ("tokens.api_user", self.tokens.api_user.as_ref()),
        ];
        for (key, source) in sources {
            if source.is_some_and(|source| !source.is_well_formed()) {
                let hint = "a file is named by an absolute path, a credential by letters, digits, dots, dashes and \
                            underscores, at most 40 of them";
                return Err((format!("{key} does not name a file or a credential"), hint));
            }
        }
        let directories = [("state_directory", &self.state_directory), ("socket.directory", &self.socket.directory)];
        match directories.iter().find(|(_, directory)| !directory.is_absolute()) {
            Some((key, _)) => Err((format!("{key} is not an absolute path"), "begin it with a slash")),
            None => Ok(()),
        }
    }

    /// The policy, with its names resolved on this system.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] for a name that the system does not know.
    pub fn policy(&self, path: &Path) -> Result<policy::Policy, ConfigError> {
        let rules = policy::Config {
            pull: self.pull.clone(),
            access: self.access.clone(),
            credential: self.credential.clone(),
            workflow_guard: self.workflow_guard.clone(),
        };
        let own_uid = rustix::process::geteuid().as_raw();
        policy::Policy::new(&rules, accounts::uid, accounts::gid, own_uid).map_err(|error| ConfigError::Invalid {
            path: path.to_owned(),
            hint: error.hint(),
            reason: error.to_string(),
        })
    }

    /// The sections in which another configuration differs and that a running daemon can't change.
    pub fn fixed_until_restart(&self, other: &Self) -> Vec<&'static str> {
        [
            ("state_directory", self.state_directory != other.state_directory),
            ("vault", self.vault != other.vault),
            ("tray", self.tray != other.tray),
            ("tokens", self.tokens != other.tokens),
            ("ingest", self.ingest != other.ingest),
            ("socket", self.socket != other.socket),
            ("audit", self.audit != other.audit),
            ("log", self.log != other.log),
        ]
        .into_iter()
        .filter_map(|(section, differs)| differs.then_some(section))
        .collect()
    }

    /// The API socket.
    pub fn api_socket(&self) -> PathBuf {
        self.socket.directory.join(socket::API_SOCKET)
    }

    /// The socket of systemd's credentials.
    pub fn credentials_socket(&self) -> PathBuf {
        self.socket.directory.join(socket::CREDENTIALS_SOCKET)
    }
}

/// A key as it may be shown: one that does not look like a key could be a secret in the wrong place.
fn shown_key(key: &str) -> &str {
    const LONGEST: usize = 24;
    let (name, _index) = key.split_once('[').unwrap_or((key, ""));
    let is_key = name.len() <= LONGEST && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if is_key { key } else { "(not a key)" }
}

/// A parser's message without the value that it may quote: that could be a token in the wrong place.
fn without_values(message: &str) -> String {
    if let Some((key, rest)) = message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`')) {
        let rest = if shown_key(key) == key { rest } else { "" };
        return format!("unknown key {}{rest}", shown_key(key));
    }
    if message.starts_with("wanted exactly 1 element") {
        return "give exactly one of its forms".to_owned();
    }
    let quotes_a_value = ["invalid type", "invalid value", "unknown variant", "invalid length"]
        .iter()
        .any(|start| message.starts_with(start));
    if !quotes_a_value {
        return message.lines().next().unwrap_or_default().to_owned();
    }
    message
        .split_once(", expected ")
        .map_or_else(|| "not a value that is valid here".to_owned(), |(_, expected)| format!("expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("test.toml")).map_err(|error| format!("{error}\nhint: {}", error.hint()))
    }

    const TOKEN: &str = "[tokens]\nmaster = { file = \"/x\" }\n";

    #[test]
    fn the_shipped_configuration_shows_the_defaults() {
        let shipped = parse(SHIPPED).expect("valid");
        // A token has no default: without one there is nothing to do.
        let defaults = Config { tokens: shipped.tokens.clone(), ..Config::default() };
        assert_eq!(toml::to_string(&shipped).expect("TOML"), toml::to_string(&defaults).expect("TOML"));
    }

    #[test]
    fn the_shipped_configuration_shows_every_key() {
        // Not all of it goes together.
        let everything: Config = toml::from_str(EVERYTHING).expect("valid");
        let keys = keys(&toml::Value::try_from(everything).expect("TOML"));
        assert!(keys.len() > 30, "{keys:?}");
        for key in keys {
            let forms = [format!("{key} ="), format!("[{key}]"), format!("[[{key}."), format!(".{key}]")];
            let shown = forms.iter().any(|form| SHIPPED.contains(form));
            assert!(shown, "{key} is not in config/trayvault.toml");
        }
    }

    const SHIPPED: &str = include_str!("../config/trayvault.toml");

    /// Sets every key that has no default, so that each key there is appears.
    const EVERYTHING: &str = r#"
        [tokens]
        master = { file = "/a" }
        api_user = { credential = "a" }
        [audit]
        keep_days = 1
        [audit.anchor]
        file = "/a"
        [tray]
        api_url = "https://a"
        graphql_url = "https://a"
        ca_file = "/a"
        proxy = "http://a"
        egress = "/a"
        [ingest]
        directory = "/a"
        [socket]
        group = "0"
        [[pull.rules]]
        name = "a"
        effect = "deny"
        principals = []
        scopes = []
        owners = []
        services = []
        environments = []
        authentications = []
        [[access.rules]]
        name = "a"
        users = []
        groups = []
        units = []
        grants = []
        fields = []
        rate = "1/s"
        [[credential]]
        name = "a"
        units = ["a.service"]
        credential = "a"
        authentication = "0191d1a0-0000-7000-8000-000000000000"
        field = "/a"
        [[credential]]
        name = "b"
        units = ["a.service"]
        credential = "b"
        authentication = "0191d1a0-0000-7000-8000-000000000000"
        env = { SALESFORCE_TOKEN = "/a" }
    "#;

    /// The names of all keys, at any depth.
    fn keys(value: &toml::Value) -> std::collections::BTreeSet<String> {
        match value {
            toml::Value::Table(table) => {
                table.iter().flat_map(|(key, value)| std::iter::once(key.clone()).chain(keys(value))).collect()
            }
            toml::Value::Array(values) => values.iter().flat_map(keys).collect(),
            _ => std::collections::BTreeSet::new(),
        }
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = parse(&format!("{TOKEN}[sync]\nintervall = \"5m\"\n")).expect_err("wrong");
        assert!(error.contains("line 4, sync.intervall is wrong: unknown key intervall, expected"), "{error}");
    }

    #[test]
    fn a_token_in_the_wrong_place_is_not_printed() {
        for text in [
            "[tokens]\nmaster = \"tok-canary\"\n",
            "[tokens]\nmaster = { file = 7, token = \"tok-canary\" }\n",
            "[tokens]\nmaster = [\"tok-canary\"]\n",
            "[vault]\nunlock = \"tok-canary\"\n",
            "[sync]\ninterval = \"tok-canary\"\n",
            "[log]\nlevel = \"tok-canary\"\n",
            "state_directory = tok-canary\n",
            "[tokens]\nmaster = \"tok-canary\n",
            "[[access.rules]]\nname = \"a\"\ngrants = [\"tok-canary\"]\n",
            "[tokens]\ntok-canary = 1\n",
            "[tok-canary]\n",
            "[tokens]\nmaster = { tok-canary = 1 }\n",
            "[[pull.rules]]\nname = \"a\"\neffect = \"allow\"\ntok-canary = 1\n",
            "[tokens]\nmaster = { file = \"tok-canary\" }\n",
            "[tokens]\nmaster = { credential = \"tok-canary-is-far-longer-than-any-name-of-a-credential\" }\n",
            "[tokens]\nmaster = { credential = \"/tok-canary\" }\n",
            "[vault]\nunlock = { passphrase_file = \"tok canary\" }\n[tokens]\nmaster = { file = \"/a\" }\n",
            "[tokens]\nmaster = { file = \"/a\" }\n[tray]\napi_url = \"https://u:canary@a\"\ngraphql_url = \"https://a\"\n",
            "[tokens]\nmaster = { file = \"/a\" }\n[tray]\napi_url = \"https://a\"\ngraphql_url = \"https://a/?canary\"\n",
            "[tokens]\nmaster = { file = \"/a\" }\n[[credential]]\nname = \"a\"\nunits = [\"a.service\"]\n\
             credential = \"a\"\nauthentication = \"canary\"\n",
            "state_directory = \"canary\"\n[tokens]\nmaster = { file = \"/a\" }\n",
        ] {
            let error = parse(text).expect_err(text);
            assert!(!error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn a_token_in_the_wrong_place_gets_a_hint() {
        let error = parse("[tokens]\nmaster = \"tok\"\n").expect_err("wrong");
        assert!(error.contains("a token is given by reference"), "{error}");
    }

    #[test]
    fn without_a_token_there_is_nothing_to_do() {
        assert!(parse("").expect_err("wrong").contains("it names no token"));
    }

    #[test]
    fn an_unknown_key_in_a_rule_is_named() {
        let rule = "[[pull.rules]]\nname = \"a\"\neffect = \"allow\"\nownerz = [\"*\"]\n";
        let error = parse(&format!("{TOKEN}{rule}")).expect_err("wrong");
        assert!(error.contains("ownerz"), "{error}");
    }
}
