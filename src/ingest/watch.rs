//! Tells when something happens in the drop directory. What happened is not asked: any event, one without a path too
//! (the kernel lost some), means to look.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::sync::Notify;

use super::layout::Layout;

/// A watch on the drop directory, which may be made again.
#[derive(Default)]
pub(super) struct Watch {
    happened: Arc<Notify>,
    current: Option<Current>,
}

struct Current {
    _watcher: RecommendedWatcher,
    /// The directory that it watches.
    identity: (u64, u64),
    /// Whether that was removed or renamed. One that is made in its place may well get its inode number.
    is_gone: Arc<AtomicBool>,
}

impl Watch {
    /// Makes sure that the directory which is there now is watched.
    ///
    /// # Errors
    /// It can't be: the scan on a timer is all there is.
    pub(super) fn follow(&mut self, layout: &Layout) -> Result<(), notify::Error> {
        let identity = layout.identity().ok_or_else(notify::Error::path_not_found)?;
        let is_watched = |current: &Current| current.identity == identity && !current.is_gone.load(Ordering::Acquire);
        if self.current.as_ref().is_some_and(is_watched) {
            return Ok(());
        }
        self.current = None;
        let (happened, root) = (Arc::clone(&self.happened), layout.root().to_owned());
        let is_gone = Arc::new(AtomicBool::new(false));
        let went = Arc::clone(&is_gone);
        let mut watcher = notify::recommended_watcher(move |event: Result<Event, notify::Error>| {
            let takes_away = |kind| matches!(kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
            if event.as_ref().is_ok_and(|event| takes_away(event.kind) && event.paths.contains(&root)) {
                went.store(true, Ordering::Release);
            }
            // To list the directory opens it, which is an event as well.
            if event.as_ref().map_or(true, |event| matters(event.kind)) {
                happened.notify_one();
            }
        })?;
        watcher.watch(layout.root(), RecursiveMode::NonRecursive)?;
        self.current = Some(Current { _watcher: watcher, identity, is_gone });
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
    use std::{fs, time::Duration};

    use notify::event::{CreateKind, Flag, RemoveKind, RenameMode};
    use tokio::time::timeout;

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

    /// File systems give a new directory the inode number of one that was just removed.
    #[tokio::test]
    async fn a_directory_that_was_made_again_is_watched_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::new(dir.path().join("drop"), false);
        let mut watch = Watch::default();
        for _ in 0..5 {
            fs::create_dir(layout.root()).expect("made");
            watch.follow(&layout).expect("watched");
            while timeout(Duration::from_millis(100), watch.happened()).await.is_ok() {}
            fs::write(layout.root().join("file"), "").expect("written");
            timeout(Duration::from_secs(5), watch.happened()).await.expect("an event");
            fs::remove_dir_all(layout.root()).expect("removed");
            timeout(Duration::from_secs(5), watch.happened()).await.expect("an event");
            // The last of them says that the directory itself is gone.
            while timeout(Duration::from_millis(100), watch.happened()).await.is_ok() {}
        }
    }
}
