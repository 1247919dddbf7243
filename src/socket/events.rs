//! `GET /v1/events`: what happens, as server-sent events (WHATWG HTML, "Server-sent events"). Metadata only, and of those
//! authentications only that the caller may see the metadata of.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderValue, Response, header},
};
use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use tokio::sync::{
    broadcast::{Receiver, error::RecvError},
    watch,
};

use super::{
    Api,
    answer::{ApiError, REQUEST_ID},
    asked::Asked,
};
use crate::{
    audit::{Action, Target},
    feed::{Happening, Notice},
    policy::{Caller, Grant, Policy, What},
    task::Shutdown,
};

/// How often something is sent when nothing happens, so that both sides notice when the other is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long a listener may take to read.
const PATIENCE: Duration = Duration::from_secs(60);

/// Events that may wait for a listener that reads slowly, besides those that the feed keeps.
const WAITING: usize = 16;

/// Whether a connection has an answer that is meant to have no end.
#[derive(Clone, Default)]
pub(super) struct Endless(Arc<AtomicBool>);

impl Endless {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

pub(super) async fn events(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Arc<Caller>>,
    Extension(shutdown): Extension<Shutdown>,
    Extension(endless): Extension<Endless>,
) -> Response<Body> {
    let asked = Asked::new(&api, caller);
    let response = subscribe(&asked, shutdown).inspect(|_| endless.0.store(true, Ordering::Relaxed));
    asked.answer(response)
}

fn subscribe(asked: &Asked<'_>, shutdown: Shutdown) -> Result<Response<Body>, ApiError> {
    let decision = asked.policy().take(asked.caller(), Grant::Metadata, What::Any);
    asked.decided(Action::Subscribe, decision)?;
    asked.unlocked(Action::Subscribe, Target::default())?;
    let (sender, body) = Channel::<Bytes>::new(WAITING);
    let subscription = Subscription {
        caller: Arc::clone(asked.caller()),
        policy: asked.api.policy.clone(),
        notices: asked.api.feed.listen(),
        sender,
    };
    // It ends with the connection, which drops the other end of the channel, or with the daemon.
    tokio::spawn(subscription.run(shutdown));
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::try_from(asked.id().to_string()) {
        headers.insert(&REQUEST_ID, id);
    }
    Ok(response)
}

/// One listener.
struct Subscription {
    caller: Arc<Caller>,
    policy: watch::Receiver<Arc<Policy>>,
    notices: Receiver<Arc<Notice>>,
    sender: Sender<Bytes>,
}

impl Subscription {
    async fn run(mut self, mut shutdown: Shutdown) {
        let mut next = Some(": listening\n\n".to_owned());
        loop {
            if let Some(text) = next {
                let sent = tokio::time::timeout(PATIENCE, self.sender.send_data(text.into())).await;
                if !matches!(sent, Ok(Ok(()))) {
                    return;
                }
            }
            next = tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(KEEP_ALIVE) => Some(": still listening\n\n".to_owned()),
                notice = self.notices.recv() => match notice {
                    Ok(notice) => may_see(&self.policy.borrow(), &self.caller, &notice).then(|| event(&notice)).flatten(),
                    Err(RecvError::Lagged(missed)) => Some(format!("event: lagged\ndata: {{\"missed\":{missed}}}\n\n")),
                    Err(RecvError::Closed) => return,
                },
            };
        }
    }
}

fn may_see(policy: &Policy, caller: &Caller, notice: &Notice) -> bool {
    let what = match (&notice.authentication, &notice.what) {
        (Some(metadata), _) => What::One(metadata),
        // Whose it is is not known here.
        (None, Happening::Ingest { id: Some(_), .. }) => What::Everything,
        (None, _) => return true,
    };
    policy.access(caller, Grant::Metadata, what).is_granted()
}

/// JSON text has no line ends, so that it is one line of data.
fn event(notice: &Notice) -> Option<String> {
    let data = serde_json::to_string(notice).ok()?;
    Some(format!("event: {}\ndata: {data}\n\n", notice.what.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        authentication::AuthenticationId,
        policy::{self, Process},
    };

    #[test]
    fn of_what_a_document_did_the_id_is_for_those_who_may_see_any() {
        let caller = Caller { uid: 7, gids: Vec::new(), process: Process::Unsupported };
        let ingest = |id| Notice {
            at: jiff::Timestamp::UNIX_EPOCH,
            authentication: None,
            what: Happening::Ingest { outcome: "deleted", id },
        };
        let sees = |more: &str, notice: &Notice| {
            let rules = format!("[[access.rules]]\nname = \"a\"\nusers = [\"7\"]\ngrants = [\"metadata\"]\n{more}");
            let rules: policy::Config = toml::from_str(&rules).expect("rules");
            let policy = Policy::new(&rules, |name| name.parse().ok(), |_| None, 0).expect("a policy");
            may_see(&policy, &caller, notice)
        };
        let one = ingest(Some(AuthenticationId(uuid::Uuid::nil())));
        assert!(sees("", &one));
        assert!(!sees("services = [\"slack\"]", &one));
        assert!(sees("services = [\"slack\"]", &ingest(None)));
    }
}
