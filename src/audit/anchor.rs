//! The head of the log at some time, kept where whoever can cut the log off can't reach.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::verify::MAC_LEN;
use crate::crypto::{hex, unhex};

/// An entry's sequence number and its MAC. As text: `SEQUENCE:MAC`, the MAC in lower-case hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Anchor {
    /// The entry's sequence number; 0 where there is no entry.
    pub sequence: u64,
    pub(super) mac: [u8; MAC_LEN],
}

/// A line of an anchors' file.
#[derive(Serialize, Deserialize)]
struct Line {
    time: Timestamp,
    seq: u64,
    mac: String,
}

/// What should be an anchor is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an anchor: a sequence number, a colon and 64 hexadecimal digits")]
pub struct AnchorError;

impl Anchor {
    pub(super) fn new(sequence: u64, mac: [u8; MAC_LEN]) -> Self {
        Self { sequence, mac }
    }

    /// A JSON object on a line of its own: `time`, `seq` and `mac`.
    pub fn line(self, time: Timestamp) -> String {
        let line = Line { time, seq: self.sequence, mac: hex(&self.mac) };
        serde_json::to_string(&line).unwrap_or_else(|_| unreachable!("plain values")) + "\n"
    }

    /// Those in a file that was written by [`Self::line`]. A line without its end was cut off, and counts
    /// for nothing.
    ///
    /// # Errors
    /// Another line is none.
    pub fn parse_lines(text: &str) -> Result<Vec<Self>, AnchorError> {
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            // What a crash left of an object has no brace at its end.
            .filter(|line| !line.starts_with('{') || line.ends_with('}'))
            .map(|line| {
                let Line { seq, mac, .. } = serde_json::from_str(line).map_err(|_| AnchorError)?;
                Ok(Self { sequence: seq, mac: unhex(mac.as_bytes()).ok_or(AnchorError)? })
            })
            .collect()
    }

    /// The MAC, in hexadecimal.
    pub fn mac(self) -> String {
        hex(&self.mac)
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, hex(&self.mac))
    }
}

impl FromStr for Anchor {
    type Err = AnchorError;

    fn from_str(text: &str) -> Result<Self, AnchorError> {
        let (sequence, mac) = text.split_once(':').ok_or(AnchorError)?;
        let mac = unhex(mac.as_bytes()).ok_or(AnchorError)?;
        Ok(Self { sequence: sequence.parse().map_err(|_| AnchorError)?, mac })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_is_read_as_it_is_written() {
        let anchor = Anchor::new(42, [0xa5; MAC_LEN]);
        assert_eq!(anchor.to_string().parse(), Ok(anchor));
        let line = anchor.line(Timestamp::UNIX_EPOCH);
        assert_eq!(Anchor::parse_lines(&format!("{line}{line}{{\"ti")), Ok(vec![anchor, anchor]));
        for wrong in ["", "42", "42:", "x:00", &anchor.to_string().to_uppercase()] {
            assert_eq!(wrong.parse::<Anchor>(), Err(AnchorError), "{wrong}");
        }
        let torn = &line[..line.len() - 9];
        assert_eq!(Anchor::parse_lines(&format!("{torn}\n{line}")), Ok(vec![anchor]));
        assert_eq!(Anchor::parse_lines("nothing\n"), Err(AnchorError));
    }
}
