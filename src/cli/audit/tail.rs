//! `trayvault audit tail`.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    fs::File,
    io::{self, BufRead, BufReader, Seek},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use super::{Failure, filter::Filter};
use crate::{
    audit::{self, Record},
    cli::{Configured, init, output},
    config::Config,
    offline::AUDIT_DIRECTORY,
};

/// How often it is looked whether there is more.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    configured: Configured,
    #[command(flatten)]
    filter: Filter,
    /// How many entries
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 10)]
    lines: usize,
    /// Go on with those to come, until interrupted
    #[arg(long, short)]
    follow: bool,
    /// Print them as they stand in the log, a JSON object a line
    #[arg(long)]
    json: bool,
}

/// Reads without the vault's key: what it prints is not verified.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = Config::load(&arguments.configured.config).map_err(|error| init::failure(&error.into()))?;
    let directory = config.state_directory.join(AUDIT_DIRECTORY);
    let mut last = VecDeque::new();
    let mut segment = Segment::first(&directory)?;
    loop {
        segment.new_lines(&mut |line| {
            arguments.keep(&mut last, line);
            Ok(())
        })?;
        if !segment.move_on()? {
            break;
        }
    }
    for line in last {
        arguments.print(&line)?;
    }
    if !arguments.follow {
        return Ok(());
    }
    loop {
        std::thread::sleep(PAUSE);
        loop {
            segment.new_lines(&mut |line| arguments.print(&line))?;
            if !segment.move_on()? {
                break;
            }
        }
    }
}

impl Arguments {
    fn keep(&self, last: &mut VecDeque<String>, line: String) {
        if self.wanted(&line).is_some() {
            last.push_back(line);
        }
        if last.len() > self.lines {
            last.pop_front();
        }
    }

    fn wanted(&self, line: &str) -> Option<Record> {
        serde_json::from_str(line).ok().filter(|record| self.filter.wants(record))
    }

    fn print(&self, line: &str) -> Result<(), Failure> {
        match self.wanted(line) {
            None => Ok(()),
            Some(_) if self.json => output::line(line),
            Some(record) => output::line(&text(&record)),
        }
    }
}

/// An entry for a person, on one line.
fn text(record: &Record) -> String {
    let mut text = format!("{:.0} {} {}", record.time, record.action, record.outcome);
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            // Writing to a String can't fail.
            let _ = write!(text, " {name}={value}");
        }
    };
    add("uid", record.actor.as_ref().map(|by| by.uid.to_string()));
    add("unit", record.actor.as_ref().and_then(|by| by.unit.clone()));
    add("authentication", record.authentication.clone());
    add("rule", record.rule.as_ref().map(|rule| format!("{rule:?}")));
    add("count", record.count.map(|count| count.to_string()));
    add("reason", record.reason.as_ref().map(|reason| format!("{reason:?}")));
    add("request", record.request.clone());
    text
}

/// A segment, read as far as it goes.
struct Segment {
    directory: PathBuf,
    file: BufReader<File>,
    /// The beginning of a line that is being written.
    begun: Vec<u8>,
}

impl Segment {
    /// The oldest.
    fn first(directory: &Path) -> io::Result<Self> {
        let path = segments_in(directory)?.remove(0);
        Ok(Self { directory: directory.to_owned(), file: BufReader::new(File::open(path)?), begun: Vec::new() })
    }

    fn new_lines(&mut self, each: &mut dyn FnMut(String) -> Result<(), Failure>) -> Result<(), Failure> {
        while self.file.read_until(b'\n', &mut self.begun)? > 0 && self.begun.ends_with(b"\n") {
            let line = String::from_utf8_lossy(self.begun.trim_ascii_end()).into_owned();
            self.begun.clear();
            each(line)?;
        }
        Ok(())
    }

    /// To the next segment, if there is one: this one is at its end then. Many may have been begun meanwhile.
    fn move_on(&mut self) -> io::Result<bool> {
        let ours = self.file.get_ref().metadata()?;
        let is_ours =
            |path: &PathBuf| path.metadata().is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()));
        let mut segments = segments_in(&self.directory)?;
        let mut place = segments.iter().position(is_ours);
        if place.is_none() {
            // It may have got its last name while they were listed.
            segments = segments_in(&self.directory)?;
            place = segments.iter().position(is_ours);
        }
        // Where it was removed, with the first that is left.
        let next = place.map_or(0, |ours| ours + 1);
        // There is none, or it has no name for a moment.
        let Some(file) = segments.get(next).and_then(|path| File::open(path).ok()) else { return Ok(false) };
        if self.file.stream_position()? < self.file.get_ref().metadata()?.len() {
            // There is more of it first.
            return Ok(true);
        }
        self.file = BufReader::new(file);
        self.begun.clear();
        Ok(true)
    }
}

/// The log's segments, the one that grows last.
fn segments_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut segments = audit::closed_segments(directory)?;
    segments.push(directory.join(audit::FILE_NAME));
    Ok(segments)
}
