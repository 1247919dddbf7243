//! Whose files are taken, where they may lie, and how long what became of them is kept.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use super::{
    super::{Config, IngestError, layout::LayoutError},
    Host,
};

/// A user who is not this one.
const NOBODY: u32 = 65534;

/// Whether this is root; if not, why that matters is printed, and the test is over.
fn is_root(what_for: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        assert!(std::env::var_os("TRAYVAULT_TESTS_AS_ROOT").is_none(), "this is not root");
        println!("not tested: only root {what_for}");
    }
    is_root
}

/// Delivers as another user would.
fn deliver_as(host: &Host, user: u32, name: &str) {
    let hidden = host.drop().join(format!(".{name}"));
    fs::write(&hidden, host.create_document(name).to_string()).expect("written");
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600)).expect("narrowed");
    chown(&hidden, Some(user), None).expect("given away");
    fs::rename(hidden, host.drop().join(name)).expect("delivered");
}

#[tokio::test]
async fn another_users_file_is_taken_only_where_the_configuration_names_the_user() {
    if !is_root("gives files away") {
        return;
    }
    let host = Host::new().await;
    let running = host.start();
    host.until("the directory", || host.drop().join("done").exists()).await;
    deliver_as(&host, NOBODY, "before");
    let reason = host.reason("before").await;
    assert_eq!(
        (reason["kind"].as_str(), reason["reason"].as_str()),
        (Some("file"), Some("the file belongs to another user"))
    );
    assert!(reason["hint"].as_str().is_some_and(|hint| hint.contains("ingest.owners")), "{reason}");
    running.stop().await;

    let config = Config { owners: vec![NOBODY.to_string()], ..host.config() };
    let running = host.start_with(config).expect("an ingest");
    deliver_as(&host, NOBODY, "after");
    assert_eq!(host.receipt("after").await["outcome"], "created");
    deliver_as(&host, NOBODY - 1, "others");
    assert_eq!(host.reason("others").await["reason"], "the file belongs to another user");
    running.stop().await;
    assert_eq!(host.created().len(), 1);
}

#[tokio::test]
async fn a_directory_that_its_group_may_write_to_needs_owners_and_a_sticky_bit() {
    let host = Host::new().await;
    host.start().stop().await;
    let shared = || Config { owners: vec!["0".to_owned()], ..host.config() };
    for (mode, is_shared_directory) in [(0o1770, true), (0o770, false), (0o1777, false)] {
        fs::set_permissions(host.drop(), fs::Permissions::from_mode(mode)).expect("set");
        let Err(error) = host.start_with(host.config()) else { panic!("{mode:o} without owners") };
        assert!(error.hint().is_some_and(|hint| hint.starts_with("chmod ")), "{mode:o}: {error}");
        match host.start_with(shared()) {
            Ok(running) => {
                assert!(is_shared_directory, "{mode:o}");
                running.stop().await;
            }
            Err(error) => assert!(!is_shared_directory, "{mode:o}: {error}"),
        }
    }
}

/// Ends with the test, whatever comes of it.
struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(at: PathBuf) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "mode=700", "none"]).arg(&at).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(Self(at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_directory_of_ours_on_another_file_system_is_an_error_with_what_to_do() {
    if !is_root("mounts") {
        return;
    }
    let host = Host::new().await;
    host.start().stop().await;
    let claimed = host.drop().join(".claimed");
    let Some(mounted) = Mounted::tmpfs(claimed.clone()) else {
        assert!(std::env::var_os("TRAYVAULT_TESTS_AS_ROOT").is_none(), "nothing can be mounted here");
        println!("not tested: nothing can be mounted here");
        return;
    };
    let Err(error) = host.start_with(host.config()) else { panic!("nothing can be renamed into it") };
    let IngestError::Directory(LayoutError::OtherFileSystem(path)) = &error else { panic!("{error}") };
    assert_eq!(*path, claimed);
    assert!(error.hint().is_some_and(|hint| hint.contains("not a mount")), "{:?}", error.hint());
    drop(mounted);
    host.start().stop().await;
}

#[tokio::test]
async fn outcomes_are_removed_when_they_were_kept_long_enough() {
    let host = Host::new().await;
    let running = host.start();
    host.create("old").await;
    host.deliver("torn", "{");
    host.reason("torn").await;
    running.stop().await;
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let outcomes = |directory: &str| fs::read_dir(host.drop().join(directory)).expect("a directory").count();
    // It looks at the start, and at the default they stay.
    let running = host.start();
    host.create("new").await;
    assert_eq!((outcomes("done"), outcomes("rejected")), (2, 2));
    running.stop().await;
    let running =
        host.start_with(Config { keep_outcomes: Duration::from_secs(1), ..host.config() }).expect("an ingest");
    host.until("them to go", || !host.drop().join("done/old.json.receipt.json").exists()).await;
    host.until("them to go", || outcomes("rejected") == 0).await;
    running.stop().await;
}
