//! Hands what people ask to the attendant, and puts documents where they stand afterwards.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    super::{
        attend::{Attendant, Attended},
        queue::Waiting,
    },
    Line, Standing, Worked,
};
use crate::requests::ingest::IngestRequest;

impl Line {
    pub(super) fn attend(&mut self, request: IngestRequest) {
        let Standing { queue, held, damaged, working, .. } = &mut self.state;
        let attendant = self.attendant.clone();
        match request {
            IngestRequest::Settle(id, order, answer) => {
                // Whoever has taken it works on it alone.
                let before = match () {
                    () if queue.take_one(id) => Attended::Stays(id),
                    () if held.remove(&id) => Attended::Held(id),
                    () if damaged.remove(&id) => Attended::Damaged(id),
                    () => {
                        let _ = answer.send(Err(Attendant::why_not(queue.has(id))));
                        return;
                    }
                };
                working.spawn(async move { Worked::Attended(attendant.settle(id, order, before, answer).await) });
            }
            other => {
                let problems = queue.waiting();
                working.spawn(async move {
                    attendant.answer(other, &problems).await;
                    Worked::Other
                });
            }
        }
    }

    pub(super) fn attended(&mut self, attended: Attended) {
        let state = &mut self.state;
        match attended {
            Attended::Settled(id) => state.queue.finish(id),
            Attended::GoesOn(id, lane) => {
                if state.queue.has(id) {
                    state.queue.wait(id, Waiting { after: Some(Duration::ZERO), problem: None }, Instant::now());
                } else {
                    state.queue.push(id, lane);
                }
            }
            Attended::Held(id) => drop(state.held.insert(id)),
            Attended::Damaged(id) => drop(state.damaged.insert(id)),
            Attended::Stays(id) => state.queue.wait(id, Waiting::default(), Instant::now()),
        }
    }
}
