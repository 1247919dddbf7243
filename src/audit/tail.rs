//! Where a log ends: what the next entry goes on from.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
};

use jiff::Timestamp;

use super::{
    generations::Anchored,
    verify::{MAC_LEN, split_mac},
};
use crate::{
    crypto::{hmac_sha256_matches, unhex},
    secret::Key,
};

/// The end of the file: the last whole lines, and whether something torn comes behind them.
pub(super) struct Tail {
    pub(super) last_lines: Option<LastLines>,
    pub(super) end: u64,
    pub(super) torn: bool,
}

pub(super) struct LastLines {
    last: Vec<u8>,
    /// `None` if the last is the first.
    before: Option<Vec<u8>>,
}

impl LastLines {
    /// When the last was written, as it says itself.
    pub(super) fn time(&self) -> Option<Timestamp> {
        #[derive(serde::Deserialize)]
        struct Read {
            time: Timestamp,
        }
        serde_json::from_slice::<Read>(&self.last).ok().map(|read| read.time)
    }
}

impl Tail {
    /// An entry is far shorter than this; what a crash left behind may be longer.
    const WINDOW: u64 = 64 * 1024;

    pub(super) fn read(mut file: &File) -> io::Result<Self> {
        let length = file.seek(SeekFrom::End(0))?;
        let mut size = Self::WINDOW;
        loop {
            let start = length.saturating_sub(size);
            file.seek(SeekFrom::Start(start))?;
            let mut window = Vec::new();
            file.read_to_end(&mut window)?;
            // Three line ends, or the beginning: two whole lines between them, or fewer whole ones at all.
            let mut ends = window.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
            let (last, before, first) = (ends.next(), ends.next(), ends.next());
            if start > 0 && first.is_none() {
                size *= 2;
                continue;
            }
            let line = |after: Option<usize>, end: usize| window[after.map_or(0, |after| after + 1)..end].to_vec();
            let last_lines =
                last.map(|end| LastLines { last: line(before, end), before: before.map(|end| line(first, end)) });
            let end = last.map_or(start, |last| start + last as u64 + 1);
            return Ok(Self { last_lines, end, torn: end < length });
        }
    }
}

/// What the next entry goes on from.
#[derive(Default)]
pub(super) struct Link {
    pub(super) sequence: u64,
    pub(super) mac: [u8; MAC_LEN],
    pub(super) anchored: Anchored,
}

/// The last entry, if its MAC fits behind the one before.
pub(super) fn last_link(key: &Key, lines: &LastLines) -> Option<Link> {
    #[derive(serde::Deserialize)]
    struct Read {
        seq: u64,
        // Earlier versions had none.
        #[serde(default)]
        generations: Anchored,
        after: Option<String>,
    }
    let Read { seq, generations, after } = serde_json::from_slice(&lines.last).ok()?;
    let previous = match (&lines.before, after) {
        (Some(line), _) => split_mac(line)?.1,
        (None, Some(after)) => unhex(after.as_bytes())?,
        (None, None) => [0; MAC_LEN],
    };
    let (entry, mac) = split_mac(&lines.last)?;
    if !hmac_sha256_matches(key, &[&previous, entry, b"}"], &mac) {
        return None;
    }
    Some(Link { sequence: seq, mac, anchored: generations })
}

/// What a segment begins with, as it says itself.
#[derive(serde::Deserialize)]
pub(super) struct Head {
    #[serde(rename = "seq")]
    pub(super) first: u64,
    pub(super) time: Timestamp,
}

impl Head {
    /// `None` for what is no entry.
    pub(super) fn read(file: &File) -> io::Result<Option<Self>> {
        let mut start = vec![0; 64 * 1024];
        let mut filled = 0;
        while filled < start.len() {
            match file.read_at(&mut start[filled..], filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        let line = start[..filled].split(|byte| *byte == b'\n').next().unwrap_or_default();
        Ok(serde_json::from_slice(line).ok())
    }
}
