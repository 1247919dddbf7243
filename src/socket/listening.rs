//! The client of `GET /v1/events`: server-sent events (WHATWG HTML, "Server-sent events"), as far as the daemon makes use of
//! them: one line `event:`, one line `data:`.

use std::{path::Path, time::Duration};

use http_body_util::BodyExt;
use hyper::{Method, body::Incoming};

use super::client::{Answer, ClientError, Driver, send, whole};

/// How long nothing may come: four times as long as the daemon is ever silent.
const SILENCE: Duration = Duration::from_secs(60);

/// The longest line that is read, in bytes.
const LONGEST: usize = 1024 * 1024;

/// What became of the wish to listen.
pub enum Subscribed {
    /// What happens from now on is told.
    Yes(Listening),
    /// The daemon refuses.
    No(Answer),
}

/// A stream of events.
pub struct Listening {
    body: Incoming,
    _driver: Driver,
    unread: Vec<u8>,
    name: String,
}

/// One event.
pub struct Event {
    /// What it is called.
    pub name: String,
    /// JSON.
    pub data: Vec<u8>,
}

/// Listens to what happens from now on.
///
/// # Errors
/// [`ClientError`].
pub async fn listen(socket: &Path) -> Result<Subscribed, ClientError> {
    let (response, driver) = send(socket, Method::GET, "/v1/events", None).await?;
    if !response.status().is_success() {
        return Ok(Subscribed::No(whole(response).await?));
    }
    let (unread, name) = (Vec::new(), String::new());
    Ok(Subscribed::Yes(Listening { body: response.into_body(), _driver: driver, unread, name }))
}

impl Listening {
    /// The next event; `None` once the daemon is gone, or has been silent for too long.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(line) = self.line() {
                if let Some(name) = line.strip_prefix(b"event: ") {
                    self.name = String::from_utf8_lossy(name).into_owned();
                } else if let Some(data) = line.strip_prefix(b"data: ") {
                    return Some(Event { name: std::mem::take(&mut self.name), data: data.to_vec() });
                }
            }
            let frame = tokio::time::timeout(SILENCE, self.body.frame()).await.ok()??.ok()?;
            self.unread.extend_from_slice(&frame.into_data().unwrap_or_default());
            if self.unread.len() > LONGEST {
                return None;
            }
        }
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        let end = self.unread.iter().position(|byte| *byte == b'\n')?;
        let mut line: Vec<u8> = self.unread.drain(..=end).collect();
        line.pop();
        Some(line)
    }
}
