//! What a person or a program reads on standard output.

use std::io::{self, Write};

use comfy_table::{ColumnConstraint, ContentArrangement, LineStyle, Table, presets};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::Failure;

/// Writes one JSON document and a line end.
pub(super) fn json(content: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(content).map_err(io::Error::from)?;
    line(&text)
}

/// Writes a line.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}

/// A table that fits the terminal, or 80 columns where there is none.
pub(super) struct Rows(Table);

impl Rows {
    pub(super) fn new<const N: usize>(header: [&str; N]) -> Self {
        let mut table = Table::new();
        let rule = LineStyle::none().fill('-').junction('-');
        table.load_style(presets::NOTHING.header_separator(rule));
        table.set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
        if table.width().is_none() {
            table.set_width(80);
        }
        Self(table)
    }

    pub(super) fn add<const N: usize>(&mut self, row: [&str; N]) {
        self.0.add_row(row);
    }

    /// Never breaks these columns: ids, which are there to be copied, and single words.
    pub(super) fn keep_whole(&mut self, columns: &[usize]) {
        for column in columns {
            if let Some(column) = self.0.column_mut(*column) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
    }

    /// Writes it.
    pub(super) fn print(mut self) -> Result<(), Failure> {
        let last = self.0.column_count().saturating_sub(1);
        for (index, column) in self.0.column_iter_mut().enumerate() {
            column.set_padding((0, u16::from(index < last)));
        }
        self.0.lines().try_for_each(|text| line(text.trim_end()))
    }
}

/// A time as the span from or to now, such as `5m ago` or `in 2h`; a dash for none.
pub(super) fn relative(at: Option<Timestamp>, now: Timestamp) -> String {
    let Some(at) = at else { return "-".to_owned() };
    let away = at.duration_since(now);
    let text = span(away.abs());
    if away.is_negative() || away.is_zero() { format!("{text} ago") } else { format!("in {text}") }
}

/// How long ago something was, such as `5m`; a dash for never.
pub(super) fn age(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map_or_else(|| "-".to_owned(), |at| span(now.duration_since(at).abs()))
}

/// A span in its largest unit, rounded.
pub(super) fn span(span: SignedDuration) -> String {
    match span.as_secs() {
        seconds @ ..60 => format!("{seconds}s"),
        seconds @ 60..3_570 => format!("{}m", (seconds + 30) / 60),
        seconds @ 3_570..171_000 => format!("{}h", (seconds + 1_800) / 3_600),
        seconds => format!("{}d", (seconds + 43_200) / 86_400),
    }
}

/// A text that anybody may have chosen, so that a terminal does not take it for its own: control characters, and those
/// that change the direction or have no width, are shown escaped.
pub(super) fn harmless(text: &str) -> String {
    let is_harmless = |one: char| {
        !one.is_control()
            && !matches!(one, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let shown = |one: char| if is_harmless(one) { one.to_string() } else { one.escape_default().to_string() };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_spans() {
        let now = Timestamp::from_second(1_000_000).expect("a time");
        let at = |seconds: i64| relative(Timestamp::from_second(1_000_000 + seconds).ok(), now);
        assert_eq!(
            [at(0), at(-59), at(-100), at(290), at(-3_599), at(7_200), at(86_400 * 3)],
            ["0s ago", "59s ago", "2m ago", "in 5m", "1h ago", "in 2h", "in 3d"]
        );
        assert_eq!(relative(None, now), "-");
    }
}
