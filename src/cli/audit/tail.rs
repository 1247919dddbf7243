//! `trayvault audit tail`.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    fs::File,
    io::{self, BufRead, BufReader, Seek},
    os::unix::fs::MetadataExt,
    path::PathBuf,
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
    let mut segment = Segment::open(directory.join(audit::FILE_NAME))?;
    for path in audit::closed_segments(&directory)? {
        // Only if what grows has too few.
        segment.earlier.push(path);
    }
    segment.earlier_lines(&mut |line| arguments.keep(&mut last, line))?;
    segment.new_lines(&mut |line| {
        arguments.keep(&mut last, line);
        Ok(())
    })?;
    for line in last {
        arguments.print(&line)?;
    }
    if !arguments.follow {
        return Ok(());
    }
    loop {
        std::thread::sleep(PAUSE);
        segment.new_lines(&mut |line| arguments.print(&line))?;
        segment.move_on()?;
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

/// The segment that grows, read as far as it goes.
struct Segment {
    path: PathBuf,
    file: BufReader<File>,
    earlier: Vec<PathBuf>,
    /// The beginning of a line that is being written.
    begun: Vec<u8>,
}

impl Segment {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = BufReader::new(File::open(&path)?);
        Ok(Self { path, file, earlier: Vec::new(), begun: Vec::new() })
    }

    fn earlier_lines(&mut self, each: &mut dyn FnMut(String)) -> io::Result<()> {
        for path in std::mem::take(&mut self.earlier) {
            BufReader::new(File::open(path)?).lines().try_for_each(|line| line.map(&mut *each))?;
        }
        Ok(())
    }

    fn new_lines(&mut self, each: &mut dyn FnMut(String) -> Result<(), Failure>) -> Result<(), Failure> {
        while self.file.read_until(b'\n', &mut self.begun)? > 0 && self.begun.ends_with(b"\n") {
            let line = String::from_utf8_lossy(self.begun.trim_ascii_end()).into_owned();
            self.begun.clear();
            each(line)?;
        }
        Ok(())
    }

    /// To the next segment, once there is one: this one has been read to its end then.
    fn move_on(&mut self) -> io::Result<()> {
        let (Ok(there), ours) = (self.path.metadata(), self.file.get_ref().metadata()?) else { return Ok(()) };
        if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) || self.file.stream_position()? < ours.len() {
            return Ok(());
        }
        self.file = BufReader::new(File::open(&self.path)?);
        Ok(())
    }
}
