//! Relay pagination, for GraphQL's connections and the REST list of workspaces.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Entries in a page when the request doesn't say.
const DEFAULT_FIRST: u64 = 20;

/// What a request asks of a connection.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub(super) first: Option<u64>,
    pub(super) after: Option<String>,
}

/// A page of a connection: entries with their cursors.
#[derive(Debug)]
pub(super) struct Page {
    entries: Vec<(String, Value)>,
    has_next: bool,
    has_previous: bool,
}

/// Why there is no such page.
#[derive(Debug, thiserror::Error)]
pub(super) enum PageError {
    #[error("argument \"first\" must be at least 1")]
    First,
    #[error("invalid cursor")]
    Cursor,
}

impl Page {
    /// Cuts the window out of `items`, each with its sequence number, ascending. A cursor holds the sequence number of
    /// its entry, so that pages neither skip nor repeat when entries come and go between them.
    pub(super) fn cut(
        connection: &'static str,
        items: impl Iterator<Item = (u64, Value)>,
        window: &Window,
        cap: u64,
    ) -> Result<Self, PageError> {
        let first = window.first.unwrap_or(DEFAULT_FIRST).min(cap);
        if first == 0 {
            return Err(PageError::First);
        }
        let after = window.after.as_deref().map(|cursor| open_cursor(connection, cursor)).transpose()?;
        let mut page = Self { entries: Vec::new(), has_next: false, has_previous: false };
        for (sequence, value) in items {
            if after.is_some_and(|after| sequence <= after) {
                page.has_previous = true;
            } else if page.entries.len() as u64 == first {
                page.has_next = true;
                break;
            } else {
                page.entries.push((cursor(connection, sequence), value));
            }
        }
        Ok(page)
    }

    /// GraphQL's form: `{edges: [{node, cursor}], pageInfo}`.
    pub(super) fn into_connection(self) -> Value {
        let page_info = self.page_info();
        let edges: Vec<Value> =
            self.entries.into_iter().map(|(cursor, node)| json!({"node": node, "cursor": cursor})).collect();
        json!({"edges": edges, "pageInfo": page_info})
    }

    /// REST's form: `{elements, pageInfo}`; an empty page has no cursors.
    pub(super) fn into_elements(self) -> Value {
        let mut page_info = self.page_info();
        if let Value::Object(fields) = &mut page_info {
            fields.retain(|_, value| !value.is_null());
        }
        let elements: Vec<Value> = self.entries.into_iter().map(|(_, element)| element).collect();
        json!({"elements": elements, "pageInfo": page_info})
    }

    fn page_info(&self) -> Value {
        json!({
            "hasNextPage": self.has_next,
            "hasPreviousPage": self.has_previous,
            "startCursor": self.entries.first().map(|(cursor, _)| cursor),
            "endCursor": self.entries.last().map(|(cursor, _)| cursor),
        })
    }
}

fn cursor(connection: &str, sequence: u64) -> String {
    URL_SAFE_NO_PAD.encode(format!("{connection}:{sequence}"))
}

fn open_cursor(connection: &str, cursor: &str) -> Result<u64, PageError> {
    let plain = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| PageError::Cursor)?;
    let plain = String::from_utf8(plain).map_err(|_| PageError::Cursor)?;
    let (of, sequence) = plain.split_once(':').ok_or(PageError::Cursor)?;
    if of != connection {
        return Err(PageError::Cursor);
    }
    sequence.parse().map_err(|_| PageError::Cursor)
}
