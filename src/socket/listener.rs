//! Makes the socket: with its owner, group and mode in place before anybody can connect to it.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

/// A listening socket, and what to remove when it closes.
pub struct Endpoint {
    pub(super) listener: UnixListener,
    /// The path and its inode; `None` for a socket that systemd owns.
    path: Option<(PathBuf, u64)>,
}

/// Who may connect, besides root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody on the host.
    Anybody,
    /// The daemon's own user, and a group.
    Group(u32),
    /// The daemon's own user.
    OwnUser,
}

/// Why the socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A daemon answers there.
    #[error("another daemon listens on {}", .0.display())]
    Live(PathBuf),
    /// There is something else of that name.
    #[error("{} is there already and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The kernel refused.
    #[error("the socket {} can't be made", path.display())]
    Io {
        /// The socket's path.
        path: PathBuf,
        /// What it answered.
        source: io::Error,
    },
}

impl Endpoint {
    /// Takes over a socket that systemd made.
    ///
    /// # Errors
    /// It is not one that listens.
    pub fn inherited(listener: UnixListener) -> io::Result<Self> {
        widen(&listener)?;
        Ok(Self { listener, path: None })
    }

    /// Makes a socket at `path`, whose directory must exist. It is bound inside a private directory, given its group and
    /// mode there, and only then renamed to its place: nobody can connect before it is as it should be. A socket that a
    /// dead daemon left is replaced; a live one's is not.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(path: &Path, access: Access) -> Result<Self, BindError> {
        let failed = |source| BindError::Io { path: path.to_owned(), source };
        refuse_live(path)?;
        let name = path.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let private = Private::new(path.with_extension(format!("{}.new", std::process::id()))).map_err(failed)?;
        let inside = private.0.join(name);
        let listener = UnixListener::bind(&inside).map_err(failed)?;
        widen(&listener).map_err(failed)?;
        let (group, mode) = match access {
            Access::Anybody => (None, 0o666),
            Access::Group(gid) => (Some(gid), 0o660),
            Access::OwnUser => (None, 0o600),
        };
        if group.is_some() {
            chown(&inside, None, group).map_err(failed)?;
        }
        fs::set_permissions(&inside, fs::Permissions::from_mode(mode)).map_err(failed)?;
        let inode = fs::metadata(&inside).map_err(failed)?.ino();
        fs::rename(&inside, path).map_err(failed)?;
        Ok(Self { listener, path: Some((path.to_owned(), inode)) })
    }
}

/// Removes the socket's name, if it is still this socket's.
impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Some((path, inode)) = &self.path
            && fs::symlink_metadata(path).is_ok_and(|found| found.ino() == *inode)
        {
            // Best effort: a name that stays is that of a dead daemon, and replaced by the next.
            let _ = fs::remove_file(path);
        }
    }
}

/// Has as many callers wait for the accept loop as the kernel permits (`net.core.somaxconn`): where it has to choose, a
/// crowd keeps others out.
fn widen(listener: &UnixListener) -> io::Result<()> {
    Ok(rustix::net::listen(listener, i32::MAX)?)
}

fn refuse_live(path: &Path) -> Result<(), BindError> {
    match UnixStream::connect(path) {
        Ok(_) => Err(BindError::Live(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            use std::os::unix::fs::FileTypeExt;
            let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
            if is_socket { Ok(()) } else { Err(BindError::NotASocket(path.to_owned())) }
        }
        Err(source) => Err(BindError::Io { path: path.to_owned(), source }),
    }
}

/// A directory for nobody else, removed when done with.
struct Private(PathBuf);

impl Private {
    fn new(path: PathBuf) -> io::Result<Self> {
        // Left by a process of the same number that died half-way.
        let _ = fs::remove_dir_all(&path);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // Best effort: what stays is empty, private, and removed by the next of the same name.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_daemons_socket_is_replaced_and_a_live_ones_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("api.sock");
        drop(UnixListener::bind(&path).expect("a socket that nobody listens on any more"));
        let live = Endpoint::bind(&path, Access::Anybody).expect("the stale one is replaced");
        assert!(matches!(Endpoint::bind(&path, Access::Anybody), Err(BindError::Live(_))));
        drop(live);
        assert!(!path.exists(), "the name goes with the daemon");
    }

    #[test]
    fn something_else_of_that_name_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("api.sock");
        fs::write(&path, "mine").expect("a file");
        assert!(matches!(Endpoint::bind(&path, Access::Anybody), Err(BindError::NotASocket(_))));
        assert_eq!(fs::read(&path).expect("still there"), b"mine");
    }

    #[test]
    fn nothing_but_the_socket_stays_in_the_directory() {
        let directory = tempfile::tempdir().expect("a directory");
        let _endpoint = Endpoint::bind(&directory.path().join("api.sock"), Access::OwnUser).expect("a socket");
        let names: Vec<_> = fs::read_dir(directory.path())
            .expect("a directory")
            .map(|one| one.expect("an entry").file_name())
            .collect();
        assert_eq!(names, ["api.sock"]);
    }
}
