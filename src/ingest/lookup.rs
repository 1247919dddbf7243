//! What Tray answers, remembered for a while and asked for once however many want to know it at the same time.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Mutex as AsyncMutex;

use crate::{principals::PrincipalError, tray::Class};

/// Answers that are remembered before the oldest are looked through.
const MANY: usize = 256;

/// What is remembered, by what it was asked for.
pub(super) struct Lookups<K, T> {
    /// How long an answer is worth keeping.
    lifetime: Duration,
    shelves: Mutex<HashMap<K, Arc<AsyncMutex<Shelf<T>>>>>,
}

/// The place of one answer. Whoever asks holds it locked meanwhile.
struct Shelf<T> {
    known: Option<(Instant, T)>,
    failed: Option<(Instant, LookupError)>,
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(super) struct LookupError {
    /// The class of Tray's refusal, if it was Tray who refused.
    pub(super) class: Option<Class>,
    /// One clause.
    pub(super) what: String,
}

impl<K: Eq + Hash, T: Clone> Lookups<K, T> {
    pub(super) fn new(lifetime: Duration) -> Self {
        Self { lifetime, shelves: Mutex::default() }
    }

    /// The answer that is remembered, if it is `believed` at its age; else asks. An answer is remembered whatever it
    /// says, a failure is not; but those who waited for the same answer while Tray failed are told so too, instead of
    /// each waiting for another failure.
    pub(super) async fn find(
        &self,
        key: K,
        believed: impl Fn(&T, Duration) -> bool,
        ask: impl Future<Output = Result<T, PrincipalError>>,
    ) -> Result<T, LookupError> {
        let since = Instant::now();
        let place = self.place(key);
        let mut held = place.lock().await;
        if let Some((at, known)) = &held.known
            && believed(known, at.elapsed())
        {
            return Ok(known.clone());
        }
        if let Some((at, error)) = &held.failed
            && *at > since
            && error.class == Some(Class::RetryLater)
        {
            return Err(error.clone());
        }
        let answer = ask.await.map_err(|error| LookupError { class: error.class(), what: error.to_string() });
        match &answer {
            Ok(answer) => *held = Shelf { known: Some((Instant::now(), answer.clone())), failed: None },
            Err(error) => held.failed = Some((Instant::now(), error.clone())),
        }
        answer
    }

    fn place(&self, key: K) -> Arc<AsyncMutex<Shelf<T>>> {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        if shelves.len() >= MANY {
            let is_fresh = |shelf: &Shelf<T>| shelf.known.as_ref().is_some_and(|(at, _)| at.elapsed() < self.lifetime);
            // One that can't be looked at is in use, or about to be.
            let is_free = |shelf: &Arc<AsyncMutex<Shelf<T>>>| {
                Arc::strong_count(shelf) == 1 && shelf.try_lock().is_ok_and(|shelf| !is_fresh(&shelf))
            };
            shelves.retain(|_, shelf| !is_free(shelf));
        }
        let empty = || Arc::new(AsyncMutex::new(Shelf { known: None, failed: None }));
        Arc::clone(shelves.entry(key).or_insert_with(empty))
    }
}
