//! Text that fits a width.

use jiff::{SignedDuration, Timestamp};

use super::super::output::span;
use crate::status::Progress;

/// The room inside a panel's border.
pub(super) fn inner(width: u16) -> usize {
    usize::from(width.saturating_sub(2))
}

/// One text at the left, one at the right; where there is no room for both, the right one stays.
pub(super) fn apart(left: &str, right: &str, width: usize) -> String {
    let left: String =
        left.chars().take(width.saturating_sub(right.chars().count() + usize::from(!right.is_empty()))).collect();
    let gap = width.saturating_sub(left.chars().count() + right.chars().count());
    format!("{left}{}{right}", " ".repeat(gap))
}

/// A bar with its name and its numbers.
pub(super) fn gauge(name: &str, numbers: &str, done: u64, all: u64, width: u16) -> String {
    let room = inner(width).saturating_sub(10 + numbers.chars().count());
    let filled = usize::try_from(done.min(all)).unwrap_or_default() * room / usize::try_from(all.max(1)).unwrap_or(1);
    format!("{name:<9}{}{} {numbers}", "█".repeat(filled), "░".repeat(room - filled))
}

/// How fast a cycle is, and how long it takes yet.
pub(super) fn pace(progress: &Progress, now: Timestamp) -> String {
    let seconds = now.duration_since(progress.since).as_secs_f64();
    if progress.done == 0 || seconds < 1.0 {
        return String::new();
    }
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let (rate, rest) = (progress.done as f64 / seconds, progress.total.saturating_sub(progress.done) as f64);
    format!("{rate:.1}/s, {} left", span(SignedDuration::from_secs_f64(rest / rate)))
}

/// A text in lines of a width, broken between words; lines after the first are indented as far as `first` is long.
pub(super) fn wrapped(first: &str, text: &str, width: usize) -> impl Iterator<Item = String> {
    let indent = first.chars().count();
    let (mut lines, mut line, mut is_empty) = (Vec::new(), first.to_owned(), true);
    for word in text.split_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        // A word that is longer than a line goes on in the next.
        for one in word.chars() {
            if line.chars().count() >= width {
                lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            }
            line.push(one);
        }
        is_empty = false;
    }
    lines.push(line);
    lines.into_iter()
}

pub(super) fn widen(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
