//! Tells when something happens in the drop directory. What happened is not asked: any event, one without a path too
//! (the kernel lost some), means to look.

use std::sync::Arc;

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::sync::Notify;

use super::layout::Layout;

/// A watch on the drop directory, which may be made again.
#[derive(Default)]
pub(super) struct Watch {
    happened: Arc<Notify>,
    /// The watcher, and the directory that it watches.
    current: Option<(RecommendedWatcher, (u64, u64))>,
}

impl Watch {
    /// Makes sure that the directory which is there now is watched.
    ///
    /// # Errors
    /// It can't be: the scan on a timer is all there is.
    pub(super) fn follow(&mut self, layout: &Layout) -> Result<(), notify::Error> {
        let identity = layout.identity().ok_or_else(notify::Error::path_not_found)?;
        if self.current.as_ref().is_some_and(|(_, watched)| *watched == identity) {
            return Ok(());
        }
        self.current = None;
        let happened = Arc::clone(&self.happened);
        let mut watcher = notify::recommended_watcher(move |event: Result<Event, notify::Error>| {
            // To list the directory opens it, which is an event as well.
            if event.as_ref().map_or(true, |event| matters(event.kind)) {
                happened.notify_one();
            }
        })?;
        watcher.watch(layout.root(), RecursiveMode::NonRecursive)?;
        self.current = Some((watcher, identity));
        Ok(())
    }

    /// Resolves when something happened since it last resolved.
    pub(super) async fn happened(&self) {
        self.happened.notified().await;
    }
}

fn matters(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, Flag, ModifyKind, RemoveKind, RenameMode};

    use super::*;

    /// When its queue overflows the kernel says only that (inotify(7), `IN_Q_OVERFLOW`): notify makes an event of it that
    /// has no path.
    #[test]
    fn events_that_were_lost_mean_to_look() {
        let lost = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert!(lost.need_rescan() && lost.paths.is_empty() && matters(lost.kind));
    }

    #[test]
    fn what_changes_a_directory_matters_and_looking_into_it_does_not() {
        for kind in [
            EventKind::Create(CreateKind::File),
            EventKind::Modify(ModifyKind::Name(RenameMode::To)),
            EventKind::Remove(RemoveKind::Folder),
            EventKind::Access(AccessKind::Close(AccessMode::Write)),
            EventKind::Any,
        ] {
            assert!(matters(kind), "{kind:?}");
        }
        for kind in [AccessKind::Open(AccessMode::Any), AccessKind::Close(AccessMode::Read), AccessKind::Read] {
            assert!(!matters(EventKind::Access(kind)), "{kind:?}");
        }
    }
}
