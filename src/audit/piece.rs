//! A piece of a log's file: the lines that begin in it.

use std::{fs::File, io, os::unix::fs::FileExt};

use super::{
    anchor::Anchor,
    verify::{BEFORE, Fault, MAC_LEN, is_same, split_mac},
};
use crate::crypto::Macs;

/// How much is read behind a piece for its last line, at first, in bytes.
const OVERHANG: u64 = 16 * 1024;

/// What is longer than this, in bytes, is no entry.
const LONGEST: u64 = 1024 * 1024;

pub(super) struct Piece {
    pub(super) start: u64,
    pub(super) end: u64,
    /// How long the file is.
    pub(super) len: u64,
    pub(super) from: Start,
}

#[derive(Clone, Copy)]
pub(super) enum Start {
    /// At the beginning of a file, behind an entry with this MAC, if it could be read.
    After(Option<[u8; MAC_LEN]>),
    /// In the middle of a file, and perhaps of a line.
    Within,
}

/// What a piece turned out to be.
#[derive(Default)]
pub(super) struct Checked {
    /// The sequence number that its first line claims, if it has a line that is an entry.
    pub(super) first: Option<u64>,
    /// How many lines are as they were written, up to a fault.
    pub(super) entries: u64,
    /// The last of them.
    pub(super) last: Option<Anchor>,
    pub(super) fault: Option<Fault>,
    /// The anchors that were met.
    pub(super) met: Vec<Anchor>,
    /// What the lines claim to be, where the first is not what is expected.
    claimed: Vec<u64>,
}

impl Checked {
    pub(super) fn has(&self, sequence: u64) -> bool {
        self.claimed.contains(&sequence)
    }
}

/// Reads a piece and checks each line that begins in it.
pub(super) fn check(macs: &Macs, file: &File, piece: &Piece, anchors: &[Anchor]) -> io::Result<Checked> {
    let from = piece.start.saturating_sub(BEFORE);
    let text = read(file, from, piece)?;
    let (mut previous, mut at) = match piece.from {
        Start::After(previous) => (previous, 0),
        Start::Within => {
            // The line that begins here, or the first after the one that was begun before.
            let seen = usize::try_from(piece.start - from).unwrap_or(0);
            match text[seen - 1..].iter().position(|byte| *byte == b'\n') {
                Some(end) => (split_mac(&text[..seen - 1 + end]).map(|(_, mac)| mac), seen + end),
                None => return Ok(Checked::default()),
            }
        }
    };
    let end = usize::try_from(piece.end - from).unwrap_or(usize::MAX);
    let mut checked = Checked::default();
    while at < end.min(text.len()) {
        let rest = &text[at..];
        let line = rest.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
        match Line::read(line) {
            Err(Fault::Torn) if from + (text.len() as u64) < piece.len => checked.fault = Some(Fault::NotAnEntry),
            Err(fault) => checked.fault = Some(fault),
            Ok(line) => {
                checked.first.get_or_insert(line.sequence);
                match line.check(macs, previous.as_ref(), checked.last.map(|last| last.sequence)) {
                    Ok(()) => {
                        previous = Some(line.mac);
                        checked.entries += 1;
                        let entry = Anchor::new(line.sequence, line.mac);
                        checked.met.extend(anchors.binary_search(&entry).is_ok().then_some(entry));
                        checked.last = Some(entry);
                    }
                    Err(fault) => checked.fault = Some(more(macs, fault, rest, checked.last)),
                }
            }
        }
        if checked.fault.is_some() {
            break;
        }
        at += line.len();
    }
    checked.claimed = claims(&text[at.min(text.len())..]);
    Ok(checked)
}

/// The text from `from` to the end of the last line that begins before the piece's end.
fn read(file: &File, from: u64, piece: &Piece) -> io::Result<Vec<u8>> {
    let mut to = piece.end.saturating_add(OVERHANG).min(piece.len);
    loop {
        let mut text = vec![0; usize::try_from(to - from).map_err(io::Error::other)?];
        file.read_exact_at(&mut text, from)?;
        let end = usize::try_from(piece.end - from).map_err(io::Error::other)?;
        // A line end at or behind the last byte of the piece ends the last line that begins in it.
        if to == piece.len || to - piece.end >= LONGEST || text[end - 1..].contains(&b'\n') {
            return Ok(text);
        }
        to = piece.end.saturating_add(LONGEST).min(piece.len);
    }
}

/// A whole line.
pub(super) struct Line<'a> {
    pub(super) sequence: u64,
    entry: &'a [u8],
    pub(super) mac: [u8; MAC_LEN],
}

impl<'a> Line<'a> {
    pub(super) fn read(line: &'a [u8]) -> Result<Self, Fault> {
        let line = line.strip_suffix(b"\n").ok_or(Fault::Torn)?;
        let (entry, mac) = split_mac(line).ok_or(Fault::NotAnEntry)?;
        Ok(Self { sequence: sequence(entry).ok_or(Fault::NotAnEntry)?, entry, mac })
    }

    /// Behind an entry with this MAC, and this sequence number if it is known.
    pub(super) fn check(&self, macs: &Macs, previous: Option<&[u8; MAC_LEN]>, last: Option<u64>) -> Result<(), Fault> {
        if let Some(last) = last {
            match self.sequence.checked_sub(last + 1) {
                Some(0) => {}
                Some(missing) => return Err(Fault::Missing(missing)),
                None => return Err(Fault::Repeated),
            }
        }
        let fits = previous.is_some_and(|previous| is_same(&macs.of(&[previous, self.entry, b"}"]), &self.mac));
        if fits { Ok(()) } else { Err(Fault::Changed) }
    }
}

/// What `{"v":2,"seq":7,` begins an entry with.
fn sequence(entry: &[u8]) -> Option<u64> {
    let rest = entry.strip_prefix(b"{\"v\":")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = rest[digits..].strip_prefix(b",\"seq\":")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if rest.get(digits) != Some(&b',') {
        return None;
    }
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

/// What the lines behind a fault say of it.
fn more(macs: &Macs, fault: Fault, rest: &[u8], last: Option<Anchor>) -> Fault {
    match fault {
        Fault::Missing(_) if last.is_some_and(|last| claims(rest).contains(&(last.sequence + 1))) => Fault::Reordered,
        Fault::Changed => {
            let lines: Vec<_> =
                rest.split_inclusive(|byte| *byte == b'\n').map_while(|line| Line::read(line).ok()).collect();
            let fit = lines.windows(2).any(|pair| pair[1].check(macs, Some(&pair[0].mac), None).is_ok());
            if fit || lines.len() < 3 { Fault::Changed } else { Fault::ForeignKey }
        }
        fault => fault,
    }
}

fn claims(text: &[u8]) -> Vec<u64> {
    text.split_inclusive(|byte| *byte == b'\n')
        .filter_map(|line| Line::read(line).ok())
        .map(|line| line.sequence)
        .collect()
}
