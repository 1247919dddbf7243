//! Every way to edit a log of 200 entries by one line.

use super::*;

const ENTRIES: usize = 200;

struct Edited {
    fixture: Fixture,
    lines: Vec<String>,
    head: Anchor,
}

impl Edited {
    fn new() -> Self {
        let fixture = Fixture::with_entries(ENTRIES as u64);
        let (lines, found) = (fixture.lines(), fixture.found());
        assert_eq!((lines.len(), found.entries, found.files), (ENTRIES, ENTRIES as u64, 1));
        Self { fixture, lines, head: found.head.unwrap() }
    }

    /// What is found, in which line, once the lines are these.
    fn fault(&self, lines: &[String]) -> (u64, Fault) {
        self.fixture.write(lines);
        let (file, line, fault) = self.fixture.fault(&[self.head]);
        assert_eq!(file, FILE_NAME);
        (line, fault)
    }
}

#[test]
fn a_change_of_any_byte_is_found_in_its_line() {
    let edited = Edited::new();
    let mut changes = 0;
    for line in 0..ENTRIES {
        // Every byte of some lines, and some of every line.
        let len = edited.lines[line].len();
        let step = if [0, 1, 99, ENTRIES - 1].contains(&line) { 1 } else { 37 };
        for at in (line % step..len).step_by(step) {
            let mut lines = edited.lines.clone();
            let mut bytes = lines[line].clone().into_bytes();
            // Another character, of the same kind where it is a digit: still a number or a MAC.
            bytes[at] = match bytes[at] {
                b'0'..=b'8' | b'a'..=b'e' => bytes[at] + 1,
                b'9' | b'f' => bytes[at] - 1,
                b'\n' => b' ',
                _ => b'x',
            };
            lines[line] = String::from_utf8(bytes).unwrap();
            if lines[line] == edited.lines[line] {
                continue;
            }
            let (found, fault) = edited.fault(&lines);
            assert_eq!(found, line as u64 + 1, "byte {at}: {fault}");
            changes += 1;
        }
    }
    assert!(changes > 4_000, "{changes}");
}

#[test]
fn a_change_is_called_one() {
    let edited = Edited::new();
    for line in 0..ENTRIES {
        let mut lines = edited.lines.clone();
        lines[line] = lines[line].replace("\"outcome\":\"done\"", "\"outcome\":\"gone\"");
        assert_eq!(edited.fault(&lines), (line as u64 + 1, Fault::Changed));
    }
}

#[test]
fn a_line_that_is_gone_is_missing_there() {
    let edited = Edited::new();
    for line in 0..ENTRIES {
        let mut lines = edited.lines.clone();
        lines.remove(line);
        let expected = if line == ENTRIES - 1 { Fault::Cut(ENTRIES as u64) } else { Fault::Missing(1) };
        assert_eq!(edited.fault(&lines), (line as u64 + 1, expected));
    }
}

#[test]
fn two_lines_that_are_swapped_are_out_of_order() {
    let edited = Edited::new();
    for line in 0..ENTRIES - 1 {
        for other in [line + 1, (line + 57).min(ENTRIES - 1), ENTRIES - 1] {
            let mut lines = edited.lines.clone();
            lines.swap(line, other);
            if line != other {
                assert_eq!(edited.fault(&lines), (line as u64 + 1, Fault::Reordered), "{line} and {other}");
            }
        }
    }
}

#[test]
fn a_line_that_stands_there_twice_is_repeated() {
    let edited = Edited::new();
    for line in 0..ENTRIES {
        let mut lines = edited.lines.clone();
        lines.insert(line + 1, edited.lines[line].clone());
        assert_eq!(edited.fault(&lines), (line as u64 + 2, Fault::Repeated));
        let mut lines = edited.lines.clone();
        lines.push(edited.lines[line].clone());
        assert_eq!(edited.fault(&lines), (ENTRIES as u64 + 1, Fault::Repeated));
    }
}

#[test]
fn a_log_that_is_cut_off_is_found_by_its_anchor_and_a_line_that_is_by_itself() {
    let edited = Edited::new();
    for line in 0..ENTRIES {
        let whole = &edited.lines[..line];
        let expected = if line == 0 { Fault::Empty } else { Fault::Cut(ENTRIES as u64) };
        assert_eq!(edited.fault(whole), (line as u64 + 1, expected));
        // Whether a torn line is one that is being written takes a while to see.
        for at in [1, 40, edited.lines[line].len() - 1].into_iter().filter(|_| line % 20 == 19) {
            let mut lines = whole.to_vec();
            lines.push(edited.lines[line][..at].to_owned());
            assert_eq!(edited.fault(&lines), (line as u64 + 1, Fault::Torn));
        }
    }
}

#[test]
fn a_log_that_was_rolled_back_and_went_on_is_found_by_its_anchor() {
    let edited = Edited::new();
    edited.fixture.write(&edited.lines[..100]);
    edited.fixture.open(Config::default()).fill(150);
    assert_eq!(edited.fixture.found().entries, 250);
    let (_, _, fault) = edited.fixture.fault(&[edited.head]);
    assert_eq!(fault, Fault::RolledBack);
}

#[test]
fn entries_of_another_key_are_called_that() {
    let edited = Edited::new();
    let other = Fixture::with_entries(ENTRIES as u64);
    edited.fixture.write(&other.lines());
    assert_eq!(edited.fault(&other.lines()), (1, Fault::ForeignKey));
    let mixed = [&edited.lines[..100], &other.lines()[100..]].concat();
    assert_eq!(edited.fault(&mixed), (101, Fault::ForeignKey));
}
