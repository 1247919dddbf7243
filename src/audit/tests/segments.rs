//! One chain in several files.

use std::time::Duration;

use jiff::Timestamp;

use super::*;

/// A log of five segments or more.
fn several() -> Fixture {
    let fixture = Fixture::new();
    fixture.open(small()).fill(100);
    let found = fixture.found();
    assert!(found.files >= 5, "{found:?}");
    fixture
}

fn closed(fixture: &Fixture) -> Vec<PathBuf> {
    closed_segments(fixture.path()).unwrap()
}

fn private(path: &Path, content: &str) {
    crate::system::files::replace(path, content.as_bytes(), 0o600).unwrap();
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_new_segment_begins_where_the_last_one_ends() {
    let fixture = several();
    let found = fixture.found();
    assert_eq!(found.entries, 100 + found.files, "those that begin segments, and the vault's creation");
    let last = fs::read_to_string(closed(&fixture).pop().unwrap()).unwrap();
    let mac = &last.trim_end()[last.trim_end().len() - 66..last.trim_end().len() - 2];
    let first = &fixture.lines()[0];
    assert!(
        first.contains("\"action\":\"audit.segment\"") && first.contains(&format!("\"after\":\"{mac}\"")),
        "{first}"
    );
    // It goes on over a restart.
    fixture.open(small()).fill(20);
    assert_eq!(fixture.found().head.unwrap().sequence, fixture.found().entries);
}

#[test]
fn a_segment_ends_by_its_age_too() {
    let fixture = Fixture::new();
    let log = fixture.open(Config { segment_age: Duration::ZERO, ..Config::default() });
    log.fill(6);
    assert_eq!(fixture.found().files, 6);
}

#[test]
fn a_segment_that_is_gone_is_missing_and_one_in_anothers_place_is_out_of_order() {
    for index in 0..4 {
        let fixture = several();
        let files = closed(&fixture);
        fs::remove_file(&files[index]).unwrap();
        let (file, line, fault) = fixture.fault(&[]);
        assert_eq!((file, line), (name(&files[index + 1]), 1));
        assert!(matches!(fault, Fault::Missing(_)), "{fault}");
    }
    let fixture = several();
    let files = closed(&fixture);
    let (one, other) = (fs::read(&files[1]).unwrap(), fs::read(&files[2]).unwrap());
    fs::write(&files[1], other).unwrap();
    fs::write(&files[2], one).unwrap();
    let (file, line, fault) = fixture.fault(&[]);
    assert_eq!((file, line), (name(&files[1]), 1));
    assert!(matches!(fault, Fault::Missing(_)), "{fault}");
}

#[test]
fn a_change_in_an_earlier_segment_is_found_there() {
    let fixture = several();
    let file = &closed(&fixture)[2];
    let text = fs::read_to_string(file).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let changed = lines[4].replace("billing reads", "billing robs ");
    fs::write(file, text.replace(lines[4], &changed)).unwrap();
    assert_eq!(fixture.fault(&[]), (name(file), 5, Fault::Changed));
}

#[test]
fn without_the_segment_that_grows_there_is_no_log() {
    let fixture = several();
    let head = fixture.found().head.unwrap();
    fs::remove_file(fixture.file()).unwrap();
    assert!(matches!(AuditLog::open(fixture.path(), fixture.key.duplicate(), small()), Err(AuditError::Lost(_))));
    assert!(matches!(fixture.fault(&[head]).2, Fault::Cut(_)));
}

#[test]
fn a_move_that_a_crash_cut_off_is_ended() {
    let fixture = several();
    let entries = fixture.found().entries;
    // Between the two renames: the new segment is whole, and nothing has its place.
    let first = fixture.lines().remove(0);
    private(&fixture.path().join("audit.jsonl.next"), &first);
    let lost = fixture.lines().len() as u64 - 1;
    fs::remove_file(fixture.file()).unwrap();
    fixture.open(small()).fill(1);
    assert_eq!(fixture.found().entries, entries - lost + 1);

    // Before the first: the new one counts for nothing.
    private(&fixture.path().join("audit.jsonl.next"), &first);
    fixture.open(small()).fill(60);
    assert_eq!(fixture.found().head.unwrap().sequence, fixture.found().entries);

    // What is not behind the last segment is not taken for the next.
    private(&fixture.path().join("audit.jsonl.next"), &first);
    fs::remove_file(fixture.file()).unwrap();
    assert!(matches!(AuditLog::open(fixture.path(), fixture.key.duplicate(), small()), Err(AuditError::Lost(_))));
}

#[test]
fn old_segments_are_removed_and_that_is_told_from_a_cut() {
    let fixture = several();
    let before = fixture.found();
    // Those that are there are of now.
    fixture.open(Config { keep_days: Some(1), ..small() }).fill(1);
    assert_eq!(fixture.found().removed, 0);
    fixture.open(Config { keep_days: Some(0), ..small() }).fill(1);
    let after = fixture.found();
    assert_eq!(after.files, 1);
    assert_eq!(after.removed + after.entries, after.head.unwrap().sequence);
    assert!(after.removed >= 80, "{before:?} {after:?}");
    assert!(fixture.lines().iter().any(|line| line.contains("\"action\":\"audit.remove\"")));

    // More and more are, and the stub knows of all.
    let log = fixture.open(Config { keep_days: Some(0), ..small() });
    log.fill(100);
    let later = fixture.found();
    assert!(later.removed > after.removed && later.files <= 2, "{later:?}");

    // What is cut beyond is missed, and so is the stub itself.
    fs::remove_file(fixture.path().join("audit-removed.json")).unwrap();
    assert!(matches!(fixture.fault(&[]).2, Fault::Missing(_)));
}

#[test]
fn what_a_crash_left_of_a_removal_is_removed_later() {
    let fixture = several();
    let files = closed(&fixture);
    let kept = fs::read(&files[0]).unwrap();
    fixture.open(Config { keep_days: Some(0), ..small() }).fill(1);
    fs::write(&files[0], kept).unwrap();
    let entries = fixture.found().entries;
    fixture.open(Config { keep_days: Some(0), ..small() }).fill(1);
    assert_eq!((files[0].exists(), fixture.found().entries), (false, entries + 1));
}

#[test]
fn two_processes_go_on_behind_each_other_over_segments() {
    let fixture = Fixture::new();
    let (one, other) = (fixture.open(small()), fixture.open(small()));
    for _ in 0..60 {
        one.fill(1);
        other.fill(2);
    }
    let found = fixture.found();
    assert!(found.files > 5 && found.entries == 180 + found.files, "{found:?}");
}

#[test]
fn an_older_copy_of_the_segment_in_its_place_is_a_cut() {
    let fixture = Fixture::new();
    let log = fixture.open(small());
    log.fill(3);
    let copy = fs::read(fixture.file()).unwrap();
    log.fill(1);
    fs::remove_file(fixture.file()).unwrap();
    fs::write(fixture.file(), copy).unwrap();
    assert!(log.record(&event(0)).is_err());
}

#[test]
fn entries_are_read_in_order_over_segments_until_one_is_not_as_it_was_written() {
    let fixture = several();
    let read_all = || {
        let mut sequence = Vec::new();
        let fault = read::<VerifyError>(&fixture.key, fixture.path(), |record| {
            sequence.push(record.seq);
            Ok(())
        });
        (sequence, fault.unwrap())
    };
    let all: Vec<_> = (1..=fixture.found().entries).collect();
    assert_eq!(read_all(), (all.clone(), None));
    let file = &closed(&fixture)[1];
    let text = fs::read_to_string(file).unwrap();
    fs::write(file, text.replacen("billing reads", "billing robs ", 1)).unwrap();
    let (sequence, fault) = read_all();
    let (at, fault) = fault.unwrap();
    assert_eq!((sequence.len() as u64 + 1, fault), (at.sequence, Fault::Changed));
    assert_eq!(sequence, all[..sequence.len()]);
}

#[test]
fn a_log_of_many_pieces_is_verified_in_each() {
    let fixture = Fixture::new();
    let log = fixture.open(Config::default());
    // Three pieces, and lines over their ends.
    while fs::metadata(fixture.file()).unwrap().len() < 9 * 1024 * 1024 {
        log.fill(500);
    }
    let found = fixture.found();
    assert_eq!(found.entries, found.head.unwrap().sequence);
    let lines = fixture.lines();
    for line in [0, lines.len() / 3, lines.len() / 2, lines.len() - 1] {
        let mut changed = lines.clone();
        changed[line] = changed[line].replace("\"outcome\":\"done\"", "\"outcome\":\"gone\"");
        fixture.write(&changed);
        assert_eq!(fixture.fault(&[]), (FILE_NAME.to_owned(), line as u64 + 1, Fault::Changed));
        changed.remove(line);
        fixture.write(&changed);
        match fixture.verify(&[]) {
            Verdict::Broken { at, fault, .. } => assert_eq!((at.line, fault), (line as u64 + 1, Fault::Missing(1))),
            Verdict::Intact(found) => assert_eq!((line, found.entries), (lines.len() - 1, line as u64)),
        }
    }
}

#[test]
fn owners_and_names_are_fingerprints_unless_they_are_to_be_plain() {
    for (identifiers, plain) in [(Identifiers::Fingerprint, false), (Identifiers::Plain, true)] {
        let fixture = Fixture::new();
        fixture.open(Config { identifiers, ..Config::default() }).fill(2);
        let lines = fixture.lines();
        assert_eq!(lines[1].contains("name 0"), plain);
        assert!(
            Timestamp::now() >= lines[1].split("\"time\":\"").nth(1).unwrap()[..20].replace('.', "Z").parse().unwrap()
        );
    }
}

#[test]
fn a_log_that_is_begun_anew_goes_on_behind_what_is_left_of_the_one_before() {
    let fixture = several();
    fixture.open(Config { keep_days: Some(0), ..small() }).fill(60);
    fixture.open(small()).fill(60);
    let kept = closed(&fixture).len();
    fs::remove_file(fixture.file()).unwrap();
    let log = AuditLog::open_or_begin(fixture.path(), fixture.key.duplicate(), small()).unwrap();
    assert!(fixture.lines()[1].contains("\"action\":\"audit.repair\""));
    log.fill(60);
    assert!(closed(&fixture).len() > kept);
    let found = fixture.found();
    assert_eq!(found.removed + found.entries, found.head.unwrap().sequence);

    // Nothing is left but the stub.
    let log = fixture.open(Config { keep_days: Some(0), ..small() });
    log.fill(60);
    for path in closed(&fixture) {
        fs::remove_file(path).unwrap();
    }
    fs::remove_file(fixture.file()).unwrap();
    AuditLog::open_or_begin(fixture.path(), fixture.key.duplicate(), small()).unwrap();
    assert_eq!(fixture.found().entries, 2);
}

#[test]
fn what_may_be_kept_longer_than_there_is_a_calendar_is_kept() {
    let fixture = several();
    fixture.open(Config { keep_days: Some(u32::MAX), ..small() }).fill(1);
    assert_eq!(fixture.found().removed, 0);
}

#[test]
fn a_gap_between_segments_is_not_covered_by_the_removal_of_those_behind_it() {
    let fixture = several();
    fs::remove_file(&closed(&fixture)[1]).unwrap();
    fixture.open(Config { keep_days: Some(0), ..small() }).fill(1);
    assert!(matches!(fixture.fault(&[]).2, Fault::Missing(_)));
}

#[test]
fn what_can_not_be_removed_does_not_begin_the_stub_anew() {
    let fixture = several();
    let first = closed(&fixture).remove(0);
    let log = fixture.open(Config { keep_days: Some(0), ..small() });
    log.fill(1);
    fs::create_dir(first).unwrap();
    log.fill(60);
    assert!(fixture.found().files <= 2);
}

#[test]
fn a_segment_that_grows_and_is_empty_or_gone_is_a_cut() {
    let fixture = several();
    fs::write(fixture.file(), "").unwrap();
    assert_eq!(fixture.fault(&[]), (FILE_NAME.to_owned(), 1, Fault::Empty));
    fs::remove_file(fixture.file()).unwrap();
    assert_eq!(fixture.fault(&[]), (FILE_NAME.to_owned(), 1, Fault::Empty));
}

#[test]
fn a_daemon_goes_on_where_another_process_died_between_two_segments() {
    let fixture = several();
    let (daemon, other) = (fixture.open(Config::default()), fixture.open(small()));
    let before = closed(&fixture).len();
    while closed(&fixture).len() == before {
        other.fill(1);
    }
    // As it is between the two renames.
    private(&fixture.path().join("audit.jsonl.next"), &fixture.lines()[0]);
    fs::remove_file(fixture.file()).unwrap();
    daemon.fill(2);
    assert_eq!(fixture.found().head, Some(daemon.head()));
}

#[test]
fn entries_are_read_and_verified_while_segments_begin_and_end() {
    let fixture = Fixture::new();
    let log = fixture.open(Config { keep_days: Some(0), ..small() });
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            log.fill(600);
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            fixture.found();
            assert_eq!(read::<VerifyError>(&fixture.key, fixture.path(), |_| Ok(())).unwrap(), None);
        }
    });
}

#[test]
fn a_file_without_a_line_end_is_no_entry_and_is_not_read_again_and_again() {
    let fixture = Fixture::new();
    let mut text = fs::read(fixture.file()).unwrap();
    text.resize(24 * 1024 * 1024, 0);
    fs::write(fixture.file(), text).unwrap();
    assert_eq!(fixture.fault(&[]), (FILE_NAME.to_owned(), 2, Fault::NotAnEntry));
}
