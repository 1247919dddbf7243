//! Looks at a host as a whole: what `check` looks at, and the kernel, limits, files, Tray, its tokens and the daemon that runs.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
    time::Duration,
};

use hyper::{Method, StatusCode};
use rustix::process::{Resource, getrlimit};

use crate::{
    check::{Finding, Standing, check},
    clauses::clauses,
    config::{Config, ConfigError},
    custody::{self, TokenError},
    socket,
    source::SourceError,
    system::{
        accounts,
        sandbox::{self, Sandbox},
    },
    tray::{self, Tray},
};

/// Keys and tokens of some thousand end users, in bytes.
const LOCKED_MEMORY: u64 = 8 * 1024 * 1024;
/// Two or three for each connection of a busy host.
const OPEN_FILES: u64 = 8_192;
/// For the daemon's few directories, beside what else watches files here.
const WATCHES: u64 = 1_024;
/// Files that come at once. What is past it is found all the same, a little later.
const QUEUED_EVENTS: u64 = 4_096;
/// How long Tray, or the daemon, may take over an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// What the expiry of credentials can stand, in seconds (docs/sync.md).
const SKEW: u64 = 300;

/// Looks at it. Tray is asked one question for each token, again where it does not answer; nothing is changed but the
/// count of keys that did not fit.
///
/// # Errors
/// [`ConfigError`]: the configuration itself is wrong.
pub fn doctor(path: &Path) -> Result<Vec<Finding>, ConfigError> {
    let config = Config::load(path)?;
    let mut findings = check(path)?;
    findings.push(confinement(sandbox::offered()));
    findings.extend(limits());
    findings.extend(files(path, &config));
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        findings.push(Finding::new("Tray", Standing::Note, "can't be asked: no runtime can be made"));
        return Ok(findings);
    };
    runtime.block_on(async {
        findings.extend(tray_and_tokens(&config).await);
        findings.extend(daemon(&config).await);
    });
    Ok(findings)
}

fn confinement(offered: Sandbox) -> Finding {
    let subject = "Landlock";
    match offered {
        Sandbox::Whole => Finding::new(subject, Standing::Good, "the daemon confines itself, unless root runs it"),
        Sandbox::Partial => Finding::new(
            subject,
            Standing::Note,
            "this kernel has an early version: it confines files, not all of the rest",
        )
        .hint("from Linux 6.12 on all of it is there".to_owned()),
        Sandbox::None => Finding::new(subject, Standing::Note, "this kernel has none, or it is off")
            .hint("boot with lsm=landlock,… (Linux 5.13 or later); the unit's own hardening holds without".to_owned()),
    }
}

/// What the kernel rations.
fn limits() -> [Finding; 4] {
    let (memory, files) = (getrlimit(Resource::Memlock), getrlimit(Resource::Nofile));
    let of_kernel = |name| fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok()?.trim().parse().ok();
    [
        limit(
            "locked memory",
            Some(memory.current.unwrap_or(u64::MAX)),
            LOCKED_MEMORY,
            "bytes in this shell",
            "LimitMEMLOCK=64M in the unit",
        ),
        // The daemon takes as many as it may.
        limit(
            "open files",
            Some(files.maximum.unwrap_or(u64::MAX)),
            OPEN_FILES,
            "in this shell",
            "LimitNOFILE=65536 in the unit",
        ),
        limit(
            "inotify watches",
            of_kernel("max_user_watches"),
            WATCHES,
            "a user",
            "sysctl fs.inotify.max_user_watches=65536",
        ),
        limit(
            "inotify queue",
            of_kernel("max_queued_events"),
            QUEUED_EVENTS,
            "events",
            "sysctl fs.inotify.max_queued_events=16384",
        ),
    ]
}

fn limit(subject: &'static str, found: Option<u64>, least: u64, unit: &str, hint: &str) -> Finding {
    match found {
        None => Finding::new(subject, Standing::Note, "can't be seen in /proc"),
        Some(u64::MAX) => Finding::new(subject, Standing::Good, "without a limit"),
        Some(found) if found < least => {
            Finding::new(subject, Standing::Note, format!("{found} {unit}; {least} are better")).hint(hint.to_owned())
        }
        Some(found) => Finding::new(subject, Standing::Good, format!("{found} {unit}")),
    }
}

/// Owners and modes of what `check` does not look at.
fn files(path: &Path, config: &Config) -> Vec<Finding> {
    let mut findings = vec![file("configuration file", path, 0o022, "others than its owner may change who reads what")];
    let api = config.api_socket();
    findings.push(file("api.sock", &api, 0, ""));
    if !config.credential.is_empty() {
        let hint = "systemd connects as root: nobody else needs it (SocketMode=0600)";
        findings.push(file("credentials.sock", &config.credentials_socket(), 0o077, hint));
    }
    if let Some(drop) = &config.ingest.directory {
        findings.push(file("drop directory", drop, 0o002, "anybody may drop documents: keep it to a group"));
    }
    let ways = [config.tray.api_url(), config.tray.graphql_url()].map(|url| config.tray.egress_socket(url));
    findings.extend(ways.iter().flatten().map(|way| file("way to Tray", way, 0o007, "it is the daemon's own way out")));
    findings
}

/// `open` are the mode's bits that should not be there, for a reason.
fn file(subject: &'static str, path: &Path, open: u32, reason: &str) -> Finding {
    let Ok(metadata) = fs::metadata(path) else {
        return Finding::new(subject, Standing::Note, format!("{} is not there, or can't be seen", path.display()));
    };
    let mode = metadata.mode() & 0o7777;
    let detail = format!("{} {mode:04o} {}", owners(&metadata), path.display());
    if mode & open == 0 {
        Finding::new(subject, Standing::Good, detail)
    } else {
        Finding::new(subject, Standing::Note, format!("{detail}: {reason}")).hint(format!("chmod {:04o}", mode & !open))
    }
}

fn owners(metadata: &Metadata) -> String {
    let user = accounts::name(metadata.uid()).unwrap_or_else(|| metadata.uid().to_string());
    let group = accounts::group_name(metadata.gid()).unwrap_or_else(|| metadata.gid().to_string());
    format!("{user}:{group}")
}

/// Whether Tray answers, with these tokens, and by which clock.
async fn tray_and_tokens(config: &Config) -> Vec<Finding> {
    let note = |detail: &str| vec![Finding::new("Tray", Standing::Note, detail)];
    if config.tray.offline {
        return note("not asked: tray.offline");
    }
    // What is wrong with either, `check` has found.
    let patient = |span: Duration| span.min(PATIENCE);
    let hasty = tray::Config {
        connect_timeout: patient(config.tray.connect_timeout),
        header_timeout: patient(config.tray.header_timeout),
        body_timeout: patient(config.tray.body_timeout),
        ..config.tray.clone()
    };
    let Ok(tray) = Tray::new(&hasty) else { return Vec::new() };
    let tokens = match custody::read_tokens(&config.tokens) {
        Ok(tokens) => tokens,
        Err(TokenError::Unreadable(_, SourceError::NoCredentials(_))) => {
            let hint = "run it by systemd-run with the unit's credentials, as docs/install.md shows".to_owned();
            let finding = Finding::new("Tray", Standing::Note, "not asked: systemd gives the tokens to the daemon");
            return vec![finding.hint(hint)];
        }
        Err(_) => return note("not asked: a token can't be read"),
    };
    let verified = tokens.verify(&tray).await.into_iter().map(|(token, verified)| match verified {
        Ok(()) => Finding::new(token, Standing::Good, "Tray takes it for what it is given as"),
        Err(error) => {
            let standing = if error.hint().is_some() { Standing::Bad } else { Standing::Note };
            Finding::new(token, standing, clauses(&error)).hint(error.hint().map(str::to_owned))
        }
    });
    let mut findings: Vec<_> = verified.collect();
    findings.extend(tray.clock_skew().map(clock));
    findings
}

fn clock(skew: i64) -> Finding {
    let detail =
        format!("Tray's is {} s {} this host's", skew.unsigned_abs(), if skew < 0 { "behind" } else { "ahead of" });
    if skew.unsigned_abs() <= SKEW {
        Finding::new("clock", Standing::Good, detail)
    } else {
        Finding::new("clock", Standing::Note, detail)
            .hint("expiries are not known better than that: keep the time by NTP (timedatectl)".to_owned())
    }
}

/// What the daemon that runs says of itself.
async fn daemon(config: &Config) -> Vec<Finding> {
    let socket = config.api_socket();
    let asked = tokio::time::timeout(PATIENCE, socket::request(&socket, Method::GET, "/v1/status", None));
    let answer = match asked.await {
        Ok(Ok(answer)) => answer,
        Err(_) => {
            return vec![
                Finding::new("daemon", Standing::Bad, "takes connections, and does not answer")
                    .hint("systemctl restart trayvault; what it is at: journalctl -u trayvault".to_owned()),
            ];
        }
        Ok(Err(error)) => {
            let hint = "systemctl start trayvault; why it ended: journalctl -u trayvault".to_owned();
            return vec![Finding::new("daemon", Standing::Note, error.to_string()).hint(hint)];
        }
    };
    if answer.status == StatusCode::FORBIDDEN {
        return vec![Finding::new("daemon", Standing::Good, "answers; it does not tell you how it stands")];
    }
    let said: serde_json::Value = serde_json::from_slice(answer.body.expose_secret()).unwrap_or_default();
    if answer.status.is_success() { standing(&said) } else { vec![fails(&said)] }
}

fn fails(said: &serde_json::Value) -> Finding {
    let message = said["message"].as_str().unwrap_or("it does not say why");
    Finding::new("daemon", Standing::Bad, format!("answers that it can't say how it stands: {message}"))
        .hint("journalctl -u trayvault".to_owned())
}

fn standing(status: &serde_json::Value) -> Vec<Finding> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("unknown").to_owned();
    let vault = text(&status["vault"]);
    let mut findings = vec![match &*vault {
        "unlocked" => Finding::new("daemon", Standing::Good, format!("answers, version {}", text(&status["version"]))),
        "locked" => {
            Finding::new("daemon", Standing::Note, "answers; its vault is locked").hint("trayvault unlock".to_owned())
        }
        _ => Finding::new("daemon", Standing::Bad, "its answer can't be understood")
            .hint("are the daemon and this program of the same version?".to_owned()),
    }];
    let count = |state: &str| status["authentications"][state].as_u64().unwrap_or_default();
    let (full, not_enabled) = (count("full"), count("not_enabled"));
    findings.push(match (full, not_enabled) {
        (0, 0) => Finding::new("full read", Standing::Note, "not known yet: nothing is held in full"),
        (full, 0) => Finding::new("full read", Standing::Good, format!("{full} authentications are held in full")),
        (_, not_enabled) => Finding::new(
            "full read",
            Standing::Note,
            format!("Tray has not enabled it for {not_enabled} authentications"),
        )
        .hint("the organisation's owner or an admin asks Tray's support to enable the full read".to_owned()),
    });
    // The daemon's own keep it from answering; the others' are told to those who see to them.
    let problems = [
        (Standing::Bad, &status["problems"]),
        (Standing::Note, &status["sync"]["last"]["problems"]),
        (Standing::Note, &status["ingest"]["problems"]),
    ];
    for (standing, problems) in problems {
        findings.extend(problems.as_array().into_iter().flatten().map(|problem| {
            Finding::new("problem", standing, text(&problem["what"])).hint(problem["hint"].as_str().map(str::to_owned))
        }));
    }
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(findings: &[Finding]) -> Vec<String> {
        let show = |finding: &Finding| {
            format!(
                "{:?} {}: {}|{}",
                finding.standing,
                finding.subject,
                finding.detail,
                finding.hint.as_deref().unwrap_or("")
            )
        };
        findings.iter().map(show).collect()
    }

    #[test]
    fn a_daemon_that_is_locked_not_enabled_or_in_trouble_is_told() {
        let status = json!({
            "version": "0.1.0", "vault": "locked", "authentications": { "full": 3, "not_enabled": 2 },
            "problems": [{ "what": "the disk is full", "hint": "make room" }], "sync": { "last": null }, "ingest": {},
        });
        let said = [
            "Note daemon: answers; its vault is locked|trayvault unlock",
            "Note full read: Tray has not enabled it for 2 authentications|the organisation's owner or an admin asks Tray's \
             support to enable the full read",
            "Bad problem: the disk is full|make room",
        ];
        assert_eq!(shown(&standing(&status)), said);
        // An answer that makes no sense is no reason to fall over.
        assert_eq!(standing(&serde_json::Value::Null)[0].standing, Standing::Bad);
        let refused = fails(&json!({ "code": "cache_unavailable", "message": "the sealed cache can't be read" }));
        assert_eq!((refused.standing, refused.detail.ends_with("can't be read")), (Standing::Bad, true));
    }

    #[test]
    fn what_is_less_than_it_should_be_has_a_hint() {
        let of = |found| shown(&[limit("open files", found, 10, "here", "more")]).remove(0);
        assert_eq!(of(Some(9)), "Note open files: 9 here; 10 are better|more");
        assert_eq!(of(Some(10)), "Good open files: 10 here|");
        assert_eq!(of(Some(u64::MAX)), "Good open files: without a limit|");
        assert_eq!(of(None), "Note open files: can't be seen in /proc|");
        assert_eq!((clock(-301).standing, clock(300).standing), (Standing::Note, Standing::Good));
    }

    #[test]
    fn a_file_that_is_open_to_more_than_it_should_be_is_told_with_the_mode_that_is_right() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("trayvault.toml");
        fs::write(&path, "").expect("written");
        let with = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
            file("configuration file", &path, 0o022, "others")
        };
        assert_eq!(with(0o644).standing, Standing::Good);
        let open = with(0o664);
        assert_eq!((open.standing, open.hint.as_deref()), (Standing::Note, Some("chmod 0644")));
    }
}
