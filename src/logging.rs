//! The developer's trace: text on a terminal, journald where that is where standard error goes, JSON lines otherwise.
//! Libraries speak from warnings on only: what they say at lower levels may quote requests.

use std::{
    io::{self, IsTerminal},
    os::unix::fs::MetadataExt,
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, Registry, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// Starts logging. A second call in one process changes nothing.
pub(crate) fn start(level: LevelFilter) {
    let filter = Targets::new().with_target("trayvault", level).with_default(LevelFilter::WARN.min(level));
    let format = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match journal() {
        Some(journal) => Box::new(journal),
        None if io::stderr().is_terminal() => Box::new(format.with_target(false)),
        None => Box::new(format.json()),
    };
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
}

/// journald's socket, if standard error is connected to the journal (`systemd.exec(5)`, `$JOURNAL_STREAM`).
fn journal() -> Option<tracing_journald::Layer> {
    let stream = std::env::var("JOURNAL_STREAM").ok()?;
    let (device, inode) = stream.split_once(':')?;
    let stderr = std::fs::metadata("/proc/self/fd/2").ok()?;
    let same = stderr.dev() == device.parse::<u64>().ok()? && stderr.ino() == inode.parse::<u64>().ok()?;
    if same { tracing_journald::layer().ok() } else { None }
}
