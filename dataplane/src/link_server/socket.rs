//! The socket's file: whose it is, and who may open it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Who may connect may command the node: only its own user.
const MODE: u32 = 0o600;
const MODE_DIRECTORY: u32 = 0o700;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    #[error(
        "another data plane serves {0}: stop it, or set dataplane.socket to another path for this \
         one and its control plane"
    )]
    InUse(PathBuf),
    #[error("{0} exists and is no socket: set dataplane.socket to a path that is free")]
    NotASocket(PathBuf),
    #[error("the link's socket {path} cannot be made: {error}; dataplane.socket sets its path")]
    Io { path: PathBuf, error: io::Error },
}

#[derive(Debug)]
pub(super) struct BoundSocket {
    path: PathBuf,
    listener: UnixListener,
    /// Locked as long as this process lives, whatever way it ends: a socket's file stays behind
    /// when its process is killed, and does not tell whether somebody serves it.
    _lock: File,
}

impl BoundSocket {
    pub(super) fn bind(path: &Path) -> Result<Self, BindError> {
        let error = |error| BindError::Io {
            path: path.to_owned(),
            error,
        };
        if let Some(directory) = path.parent().filter(|it| !it.as_os_str().is_empty()) {
            DirBuilder::new()
                .recursive(true)
                .mode(MODE_DIRECTORY)
                .create(directory)
                .map_err(error)?;
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(MODE)
            .open(with_suffix(path, ".lock"))
            .map_err(error)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BindError::InUse(path.to_owned())),
            Err(TryLockError::Error(reason)) => return Err(error(reason)),
        }
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(BindError::NotASocket(path.to_owned()));
            }
            Ok(_) => tracing::info!(path = %path.display(), "socket of a dead process replaced"),
            Err(_) => {}
        }
        Self::bind_locked(path, lock).map_err(error)
    }

    /// Under another name first, so that there is no moment at which others could connect.
    fn bind_locked(path: &Path, lock: File) -> io::Result<Self> {
        let unfinished = with_suffix(path, ".new");
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&unfinished)?;
        fs::set_permissions(&unfinished, Permissions::from_mode(MODE))?;
        fs::rename(&unfinished, path)?;
        Ok(Self {
            path: path.to_owned(),
            listener,
            _lock: lock,
        })
    }

    pub(super) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }

    pub(super) fn path(&self) -> &PathBuf {
        &self.path
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        // Whoever comes next replaces it anyway. The lock's file stays: removing it could split
        // the lock between two files.
        let _ = fs::remove_file(&self.path);
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
