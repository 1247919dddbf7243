//! Checks the chain: every file at once, in pieces, each of which begins with the MAC that stands before it.

use std::{
    fs::File,
    io,
    num::NonZero,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use subtle::ConstantTimeEq;

use super::{
    anchor::Anchor,
    piece::{self, Piece, Start},
    segment::{self, Closed, FILE_NAME, NEXT_NAME, Stub, StubError},
};
use crate::{
    crypto::{Macs, unhex, with_macs},
    secret::Key,
    system::stack::DEEP,
};

/// HMAC-SHA256's length in bytes.
pub(super) const MAC_LEN: usize = 32;
/// What follows an entry: its MAC as a last member.
const SUFFIX_LEN: usize = ",\"mac\":\"".len() + 2 * MAC_LEN + "\"}".len();
/// A line's end and what of it stands in the way of finding its MAC.
pub(super) const BEFORE: u64 = SUFFIX_LEN as u64 + 1;

/// How much of a file one thread reads at once, in bytes.
const PIECE: u64 = 4 * 1024 * 1024;
/// How often, and after which pause, a torn last line is looked at again before it is believed: the daemon may be in the
/// middle of this very line.
const TORN_TRIES: usize = 5;
const TORN_PAUSE: Duration = Duration::from_millis(20);

/// What verification found.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Every entry is as it was written, in its place.
    Intact(Found),
    /// The first place where that is not so.
    Broken {
        /// What is intact before it.
        before: Found,
        /// Where.
        at: Place,
        /// What is wrong there.
        fault: Fault,
    },
}

/// What there is in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// How many entries there are.
    pub entries: u64,
    /// In how many files.
    pub files: u64,
    /// How many entries were removed because they were older than they are kept.
    pub removed: u64,
    /// The last entry.
    pub head: Option<Anchor>,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file's name in the audit directory.
    pub file: String,
    /// The line's number in it, from 1.
    pub line: u64,
    /// The sequence number of the entry that should be there.
    pub sequence: u64,
}

/// What can be wrong with a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is not even the first entry.
    #[error("the log is empty: it was cut, or replaced")]
    Empty,
    /// It has no line end: a write was torn, or the file was cut.
    #[error("the line is torn")]
    Torn,
    /// It is not an entry at all.
    #[error("not an entry")]
    NotAnEntry,
    /// One or more entries are not there.
    #[error("{0} entries are missing here")]
    Missing(u64),
    /// The entry that belongs here comes later.
    #[error("the entries are out of order here")]
    Reordered,
    /// An entry stands here again.
    #[error("an entry is repeated here")]
    Repeated,
    /// Its MAC does not fit: it, or the MAC before it, was changed.
    #[error("the entry does not fit the chain: it was changed, or written under another key")]
    Changed,
    /// Nor does that of any other.
    #[error("the entries from here on were written under another key")]
    ForeignKey,
    /// An anchor knows of later entries.
    #[error("the log was cut off here: an anchor knows of entry {0}")]
    Cut(u64),
    /// An anchor knows another entry of this number.
    #[error("the log was rolled back: an anchor knows another entry of this number")]
    RolledBack,
}

/// Why a log can't be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It can't be read.
    #[error("the audit log can't be read")]
    Io(#[from] io::Error),
    /// What is left of removed segments can't be used.
    #[error(transparent)]
    Stub(#[from] StubError),
}

/// Reads the whole log in `directory`, checks each entry's MAC and sequence number, and that the entries of `anchors` are
/// there. `progress` is told of every so many bytes that were read, of how many. The daemon may go on writing meanwhile: what
/// it writes after the beginning is not looked at.
///
/// # Errors
/// [`VerifyError`].
pub fn verify(
    key: &Key,
    directory: &Path,
    anchors: &[Anchor],
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Verdict, VerifyError> {
    let (stub, files) = open_all(key, directory)?;
    let pieces = pieces(&files, stub.as_ref());
    let all = files.iter().map(|file| file.len).sum();
    let mut wanted = anchors.to_vec();
    wanted.sort_unstable();
    let next = AtomicUsize::new(0);
    let check = || {
        let mut checked = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((file, piece)) = pieces.get(index) else { return Ok(checked) };
            let file = &files[*file];
            checked.push((
                index,
                with_macs::<DEEP, _, _>([key], |[macs]| piece::check(macs, &file.file, piece, &wanted))?,
            ));
            progress(piece.end - piece.start, all);
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(pieces.len().max(1));
    let checked: io::Result<Vec<_>> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(check)).collect();
        running
            .into_iter()
            .map(|one| one.join().unwrap_or_else(|_| Err(io::Error::other("a thread ended early"))))
            .collect()
    });
    let mut checked: Vec<_> = checked?.into_iter().flatten().collect();
    checked.sort_unstable_by_key(|(index, _)| *index);
    let pieces = pieces.iter().zip(checked).map(|((file, piece), (_, checked))| (*file, piece, checked));
    Ok(judge(&files, stub.as_ref(), pieces, &wanted))
}

/// A file of the log, as long as it was when it was opened.
pub(super) struct Open {
    pub(super) name: String,
    pub(super) file: File,
    pub(super) len: u64,
}

/// The stub and the log's files, which may be begun and removed meanwhile.
pub(super) fn open_all(key: &Key, directory: &Path) -> Result<(Option<Stub>, Vec<Open>), VerifyError> {
    loop {
        let stub = Stub::read(directory, key)?;
        let files = files(directory, stub.as_ref().map_or(0, |stub| stub.last));
        // It is replaced before anything is removed.
        if Stub::read(directory, key)? == stub {
            return Ok((stub, files?));
        }
    }
}

/// The log's files in their order, without those of which only the stub counts still.
fn files(directory: &Path, removed: u64) -> io::Result<Vec<Open>> {
    loop {
        let before = segment::closed(directory)?;
        let path = directory.join(FILE_NAME);
        let growing = growing(&path)?;
        // A new segment may have been begun meanwhile.
        let same = match &growing {
            Some(file) => {
                let there = path.metadata().or_else(|_| path.with_file_name(NEXT_NAME).metadata());
                there.is_ok_and(|there| file.metadata().is_ok_and(|ours| there.ino() == ours.ino()))
            }
            None => true,
        };
        if !same || segment::closed(directory)? != before {
            continue;
        }
        let closed = before.into_iter().filter(|closed| closed.first > removed);
        let mut files = Vec::new();
        for Closed { path, .. } in closed {
            files.push(open(&path, File::open(&path)?)?);
        }
        if let Some(file) = growing {
            files.push(open(&path, file)?);
        }
        return Ok(files);
    }
}

/// The segment that grows. It has no name for a moment while another takes its place, and if a crash comes then, until the
/// next start.
fn growing(path: &Path) -> io::Result<Option<File>> {
    for _ in 0..TORN_TRIES {
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => thread::sleep(TORN_PAUSE),
            opened => return opened.map(Some),
        }
    }
    match File::open(path.with_file_name(NEXT_NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

fn open(path: &Path, file: File) -> io::Result<Open> {
    let mut len = file.metadata()?.len();
    for _ in 0..TORN_TRIES {
        let mut last = [0];
        if len == 0 || (file.read_at(&mut last, len - 1)? == 1 && last == *b"\n") {
            break;
        }
        thread::sleep(TORN_PAUSE);
        len = file.metadata()?.len();
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Open { name, file, len })
}

/// Every file in pieces; which file each is of.
fn pieces(files: &[Open], stub: Option<&Stub>) -> Vec<(usize, Piece)> {
    let mut pieces = Vec::new();
    let mut before = stub.map_or(Some([0; MAC_LEN]), Stub::mac);
    for (index, Open { file, len, .. }) in files.iter().enumerate() {
        for start in (0..*len).step_by(usize::try_from(PIECE).unwrap_or(usize::MAX)) {
            let from = if start == 0 { Start::After(before) } else { Start::Within };
            pieces.push((index, Piece { start, end: (start + PIECE).min(*len), len: *len, from }));
        }
        let mut suffix = [0; SUFFIX_LEN];
        before = match len.checked_sub(BEFORE) {
            Some(at) if file.read_exact_at(&mut suffix, at).is_ok() => mac_at_end(&suffix),
            _ => None,
        };
    }
    pieces
}

/// Puts the pieces together: the first fault counts.
fn judge<'a>(
    files: &[Open],
    stub: Option<&Stub>,
    pieces: impl Iterator<Item = (usize, &'a Piece, piece::Checked)>,
    anchors: &[Anchor],
) -> Verdict {
    let removed = stub.map_or(0, |stub| stub.last);
    let mut found = Found { removed, ..Found::default() };
    let mut last = removed;
    let (mut in_file, mut line) = (usize::MAX, 0);
    // In the order of their entries, and so in that of anchors.
    let mut met = Vec::new();
    let place = |file: usize, line: u64, sequence: u64| Place {
        file: files.get(file).map_or(FILE_NAME, |file| &file.name).to_owned(),
        line: line + 1,
        sequence,
    };
    for (file, _, checked) in pieces {
        if file != in_file {
            (in_file, line) = (file, 0);
            found.files += 1;
        }
        let expected = last + 1;
        if let Some(first) = checked.first.filter(|first| *first != expected) {
            let fault = match first.checked_sub(expected) {
                Some(_) if checked.has(expected) => Fault::Reordered,
                Some(missing) => Fault::Missing(missing),
                None => Fault::Repeated,
            };
            return Verdict::Broken { before: found, at: place(file, line, expected), fault };
        }
        met.extend(checked.met);
        line += checked.entries;
        found.entries += checked.entries;
        if let Some(head) = checked.last {
            last = head.sequence;
            found.head = Some(head);
        }
        if let Some(fault) = checked.fault {
            let fault =
                if fault == Fault::ForeignKey && found.entries > 0 && line == 0 { Fault::Changed } else { fault };
            return Verdict::Broken { before: found, at: place(file, line, last + 1), fault };
        }
    }
    let end = files.len().saturating_sub(1);
    // Every segment has an entry, and the vault's creation is the first of every log.
    if files.last().is_none_or(|file| file.name != FILE_NAME || file.len == 0) {
        let at = Place { file: FILE_NAME.to_owned(), line: 1, sequence: last + 1 };
        return match anchors.last().filter(|anchor| last > 0 && anchor.sequence > last) {
            Some(anchor) => Verdict::Broken { before: found, at, fault: Fault::Cut(anchor.sequence) },
            None => Verdict::Broken { before: found, at, fault: Fault::Empty },
        };
    }
    let missing = anchors.iter().rev().find(|anchor| anchor.sequence > last);
    if let Some(anchor) = missing {
        return Verdict::Broken { before: found, at: place(end, line, last + 1), fault: Fault::Cut(anchor.sequence) };
    }
    // Of what was removed only the last entry is known.
    let known = |anchor: &&Anchor| anchor.sequence > removed && met.binary_search(anchor).is_err();
    if let Some(other) = anchors.iter().find(known) {
        let before = Found { head: None, ..found };
        return Verdict::Broken { before, at: place(end, line, other.sequence), fault: Fault::RolledBack };
    }
    Verdict::Intact(found)
}

/// The MAC of an entry: over its predecessor's, then the line without its own.
pub(super) fn entry_mac(macs: &Macs, previous: &[u8; MAC_LEN], entry: &[u8]) -> [u8; MAC_LEN] {
    macs.of(&[previous, entry])
}

/// Takes a line apart into the entry as it was before the MAC went in, but for the brace at its end, and the MAC.
pub(super) fn split_mac(line: &[u8]) -> Option<(&[u8], [u8; MAC_LEN])> {
    let (entry, suffix) = line.split_at_checked(line.len().checked_sub(SUFFIX_LEN)?)?;
    Some((entry, mac_at_end(suffix)?))
}

fn mac_at_end(suffix: &[u8]) -> Option<[u8; MAC_LEN]> {
    unhex(suffix.strip_prefix(b",\"mac\":\"")?.strip_suffix(b"\"}")?)
}

/// Whether two MACs are the same, in constant time.
pub(super) fn is_same(one: &[u8; MAC_LEN], other: &[u8; MAC_LEN]) -> bool {
    one.ct_eq(other).into()
}
