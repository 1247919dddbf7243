//! Files as they come: hostile, slow, twice, or while nobody looked.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    time::Duration,
};

use super::{Host, mode};

#[tokio::test]
async fn hostile_files_are_refused_without_being_read() {
    let host = Host::new().await;
    let running = host.start();
    let drop = host.drop();
    let secret = host.dir.path().join("outside");
    fs::write(&secret, host.create_document("stolen").to_string()).expect("written");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).expect("set");
    symlink(&secret, drop.join("link")).expect("linked");
    fs::hard_link(&secret, drop.join("hard")).expect("linked");
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, drop.join("fifo"), fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
        .expect("made");
    // Only root makes devices: the one that is always full.
    let device = (rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 7));
    let private = rustix::fs::Mode::from_raw_mode(0o600);
    let is_made = rustix::fs::mknodat(rustix::fs::CWD, drop.join("device"), device.0, private, device.1).is_ok();
    assert!(is_made || std::env::var_os("TRAYVAULT_TESTS_AS_ROOT").is_none(), "this is not root");
    let _socket = std::os::unix::net::UnixListener::bind(drop.join("socket")).expect("bound");
    host.deliver("large", vec![b' '; 1024 * 1024 + 1]);
    host.deliver_json("open", &host.create_document("open"));
    fs::create_dir(drop.join("directory")).expect("made");
    fs::create_dir(drop.join("lost+found")).expect("made");
    host.deliver("\u{1b}[2J\n", "{}");
    // Delivered narrow, opened afterwards: it may have been claimed by then, so it is made wide before.
    let wide = drop.join(".wide");
    fs::write(&wide, host.create_document("wide").to_string()).expect("written");
    fs::set_permissions(&wide, fs::Permissions::from_mode(0o620)).expect("widened");
    fs::rename(wide, drop.join("wide")).expect("delivered");

    for (name, says) in [
        ("link", "it is a symbolic link"),
        ("hard", "the file has other names (hard links)"),
        ("fifo", "it is a FIFO"),
        ("socket", "it is a socket"),
        ("directory", "it is a directory"),
        ("large", "the file is larger than 1048576 bytes"),
        ("wide", "others may write to the file"),
    ] {
        let reason = host.reason(name).await;
        assert_eq!((reason["reason"].as_str(), reason["kind"].as_str()), (Some(says), Some("file")), "{name}");
    }
    if is_made {
        assert_eq!(host.reason("device").await["reason"], "it is a device");
    }
    assert_eq!(host.reason("\u{1b}[2J\n").await["kind"], "document");
    assert_eq!(host.receipt("open").await["outcome"], "created");
    assert!(drop.join("rejected/directory").is_dir() && drop.join("lost+found").is_dir());
    assert_eq!(mode(&drop.join("rejected/wide")), 0o600);
    assert_eq!(host.opened("wide"), host.create_document("wide").to_string().into_bytes(), "sealed, not read");
    assert_eq!(mode(&secret), 0o640, "the mode of a file with other names stays");
    assert_eq!(host.created().len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_file_that_is_written_in_place_counts_only_when_it_is_whole() {
    use std::io::Write as _;
    let host = Host::new().await;
    let running = host.start();
    let text = host.create_document("slow").to_string();
    let (head, tail) = text.split_at(40);
    let mut file = fs::File::create(host.drop().join("slow")).expect("made");
    file.write_all(head.as_bytes()).expect("written");
    tokio::time::sleep(Duration::from_millis(900)).await;
    file.write_all(tail.as_bytes()).expect("written");
    drop(file);
    assert_eq!(host.receipt("slow").await["outcome"], "created");
    host.deliver("torn", head);
    assert_eq!(host.reason("torn").await["reason"], "the document ends early");
    running.stop().await;
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn a_directory_that_was_made_again_is_looked_at_and_what_came_while_nobody_looked() {
    let host = Host::new().await;
    let running = host.start();
    host.create("before").await;
    host.posted("rest", |posted| posted.ingest.pending == 0 && posted.ingest.accepted == 1).await;
    fs::remove_dir_all(host.drop()).expect("removed");
    host.until("the directory", || host.drop().join("done").exists()).await;
    host.create("again").await;
    running.stop().await;
    host.deliver_json("meanwhile", &host.create_document("meanwhile"));
    let running = host.start();
    assert_eq!(host.receipt("meanwhile").await["outcome"], "created");
    running.stop().await;
}

#[tokio::test]
async fn one_name_dropped_twice_leaves_two_receipts() {
    let host = Host::new().await;
    let running = host.start();
    for number in 0..2 {
        host.deliver_json("same", &host.create_document(&format!("number {number}")));
        host.until("it", || host.created().len() == number + 1).await;
    }
    let done = host.drop().join("done");
    host.until("two receipts", || fs::read_dir(&done).expect("a directory").count() == 2).await;
    running.stop().await;
}
