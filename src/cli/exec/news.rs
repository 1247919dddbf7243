//! When to look whether a value changed: what the daemon tells of, and each time that it could not be heard.

use std::{path::Path, sync::Arc, time::Duration};

use serde::Deserialize;
use tokio::sync::mpsc::Sender;

use super::super::{Failure, api};
use crate::{
    authentication::AuthenticationId,
    socket::{Event, Listening},
};

/// The wait before it is tried to listen again; twice as long each time, up to the longest.
const WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What there is to know.
pub(super) enum News {
    /// Something happened to one of them, or may have.
    Happened,
    /// The daemon can't be heard, and is tried again.
    Lost(Failure),
    /// It can be heard again.
    Back,
}

/// Listens for as long as anybody takes the news.
pub(super) async fn follow(
    socket: Arc<Path>,
    ids: Vec<AuthenticationId>,
    mut listening: Listening,
    news: Sender<News>,
) -> Result<(), tokio::sync::mpsc::error::SendError<News>> {
    loop {
        while let Some(event) = listening.next().await {
            if may_concern(&event, &ids) {
                news.send(News::Happened).await?;
            }
        }
        let (mut wait, mut is_told) = (WAIT, false);
        listening = loop {
            tokio::time::sleep(wait).await;
            match api::listen(&socket).await {
                Ok(again) => break again,
                Err(failure) if !is_told => news.send(News::Lost(failure)).await?,
                Err(_) => {}
            }
            is_told = true;
            wait = (wait * 2).min(LONGEST_WAIT);
        };
        news.send(if is_told { News::Back } else { News::Happened }).await?;
    }
}

fn may_concern(event: &Event, ids: &[AuthenticationId]) -> bool {
    #[derive(Deserialize)]
    struct Notice {
        authentication: Subject,
    }
    #[derive(Deserialize)]
    struct Subject {
        id: AuthenticationId,
    }
    match event.name.as_str() {
        // Which ones were missed is not known.
        "lagged" => true,
        "pulled" | "changed" | "removed" => serde_json::from_slice(&event.data)
            .map_or(true, |Notice { authentication }| ids.contains(&authentication.id)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_change_one_of_the_values_is_looked_after() {
        let ours = AuthenticationId(uuid::Uuid::from_u128(1));
        let of = |name: &str, id: u128| {
            let data = format!("{{\"authentication\":{{\"id\":\"{}\"}}}}", uuid::Uuid::from_u128(id));
            may_concern(&Event { name: name.to_owned(), data: data.into_bytes() }, &[ours])
        };
        assert!(of("changed", 1) && of("pulled", 1) && of("removed", 1) && of("lagged", 2));
        assert!(!of("changed", 2) && !of("refreshed", 1) && !of("tray", 1));
    }
}
