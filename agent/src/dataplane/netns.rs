//! A network namespace as a value: opened by path or by process, known by its inode, a place to make sockets and to act
//! in.
//!
//! A thread, not a process, is in a namespace. So nothing here moves a thread that anybody else uses: work is done on a
//! thread that enters, works and ends ([`Netns::run`]), or on one that stays for as long as its work goes on
//! ([`Netns::spawn`]). A socket belongs to the namespace that it was made in, wherever it is used.
//!
//! As long as a value lives, its namespace does too. Whether anybody else still uses it is told by the way by which it was
//! opened: [`Netns::is_there`].

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::libc;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{FsType, fstatfs};
use socket2::{Domain, Protocol, Socket, Type};

/// `NSFS_MAGIC` (linux/magic.h): the file system that namespaces' files are of.
const NSFS_MAGIC: FsType = FsType(0x6e73_6673);

/// Why a namespace cannot be opened or entered.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The file.
    #[error("cannot open the network namespace {}; see whether its process still runs", path.display())]
    Open {
        /// The way to it.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file, but no namespace.
    #[error("{} is not a namespace", .0.display())]
    NoNamespace(PathBuf),
    /// `unshare(2)`.
    #[error("cannot make a network namespace; the agent needs CAP_SYS_ADMIN")]
    Create(#[source] nix::errno::Errno),
    /// `setns(2)`.
    #[error("cannot enter the network namespace {}; the agent needs CAP_SYS_ADMIN", path.display())]
    Enter {
        /// The way to it.
        path: PathBuf,
        /// What the kernel said.
        source: nix::errno::Errno,
    },
    /// A socket in it.
    #[error("cannot make a socket in the network namespace {}", path.display())]
    Socket {
        /// The way to it.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A thread to act in it.
    #[error("cannot start a thread for the network namespace {}", path.display())]
    Thread {
        /// The way to it.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// What was to be done there panicked.
    #[error("the thread in the network namespace {} panicked", .0.display())]
    Panicked(PathBuf),
}

/// Which namespace it is, however it was opened (`ioctl_ns(2)`: "comparing").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetnsId {
    device: u64,
    inode: u64,
}

impl fmt::Display for NetnsId {
    /// As `readlink /proc/PID/ns/net` shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:[{}]", self.inode)
    }
}

/// A network namespace. Cloning shares the open file.
#[derive(Debug, Clone)]
pub struct Netns {
    file: Arc<File>,
    path: Arc<Path>,
    id: NetnsId,
}

impl Netns {
    /// Opens the namespace that a file stands for: a process's `/proc/PID/ns/net`, or a bind mount of one.
    ///
    /// # Errors
    /// Where the file cannot be opened, or is no namespace.
    pub fn open(path: &Path) -> Result<Self, NetnsError> {
        let failed = |source| NetnsError::Open { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        if fstatfs(&file).map_err(|errno| failed(errno.into()))?.filesystem_type() != NSFS_MAGIC {
            return Err(NetnsError::NoNamespace(path.to_owned()));
        }
        let id = id(&file.metadata().map_err(failed)?);
        Ok(Self { file: Arc::new(file), path: path.into(), id })
    }

    /// Opens the namespace that a process is in. Whoever got the number from somewhere compares [`Self::id`]: the process
    /// may have ended, and another have its number.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn of_process(pid: u32) -> Result<Self, NetnsError> {
        Self::open(Path::new(&format!("/proc/{pid}/ns/net")))
    }

    /// The namespace that the calling thread is in.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn current() -> Result<Self, NetnsError> {
        let thread = nix::unistd::gettid();
        Self::open(Path::new(&format!("/proc/{}/task/{thread}/ns/net", std::process::id())))
    }

    /// Makes a namespace without a name: it is there for as long as this value is, and what was made in it.
    ///
    /// # Errors
    /// Where the kernel makes none.
    pub fn create() -> Result<Self, NetnsError> {
        let path = PathBuf::from("/proc/self/ns/net");
        let thread = std::thread::Builder::new().name("netns".to_owned()).spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(NetnsError::Create)?;
            Self::current()
        });
        let thread = thread.map_err(|source| NetnsError::Thread { path: path.clone(), source })?;
        thread.join().unwrap_or_else(|_| Err(NetnsError::Panicked(path)))
    }

    /// Which namespace it is.
    #[must_use]
    pub fn id(&self) -> NetnsId {
        self.id
    }

    /// The way by which it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the way by which it was opened still leads to it. Where it does not, whoever made the namespace is gone,
    /// and it lives on for this value alone.
    #[must_use]
    pub fn is_there(&self) -> bool {
        match std::fs::metadata(&self.path) {
            Ok(meta) => id(&meta) == self.id,
            // Whatever else went wrong says nothing about the namespace.
            Err(error) => error.kind() != io::ErrorKind::NotFound && error.raw_os_error() != Some(libc::ESRCH),
        }
    }

    /// Does something in the namespace, and waits for what comes of it.
    ///
    /// # Errors
    /// Where it cannot be entered, or what is done there panics.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("netns".to_owned());
            let thread = thread.spawn_scoped(scope, || self.enter().map(|()| work())).map_err(self.no_thread())?;
            thread.join().unwrap_or_else(|_| Err(NetnsError::Panicked(self.path.to_path_buf())))
        })
    }

    /// Starts a thread that does something in the namespace for as long as it takes. The thread's end tells whether the
    /// namespace could be entered.
    ///
    /// # Errors
    /// Where there is no thread to be had.
    pub fn spawn(
        &self,
        name: &str,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<JoinHandle<Result<(), NetnsError>>, NetnsError> {
        let netns = self.clone();
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(move || netns.enter().map(|()| work())).map_err(self.no_thread())
    }

    /// Makes a socket that belongs to the namespace; non-blocking, closed on exec.
    ///
    /// # Errors
    /// Where it cannot be entered, or the kernel makes no such socket.
    pub fn socket(&self, domain: Domain, kind: Type, protocol: Option<Protocol>) -> Result<Socket, NetnsError> {
        let made = self.run(|| Socket::new(domain, kind.nonblocking(), protocol))?;
        made.map_err(|source| NetnsError::Socket { path: self.path.to_path_buf(), source })
    }

    /// Moves the calling thread, if it is elsewhere: that takes CAP_SYS_ADMIN, being there does not. Only for threads of
    /// our own, which never come back.
    fn enter(&self) -> Result<(), NetnsError> {
        if Self::current().is_ok_and(|here| here.id == self.id) {
            return Ok(());
        }
        setns(&*self.file, CloneFlags::CLONE_NEWNET)
            .map_err(|source| NetnsError::Enter { path: self.path.to_path_buf(), source })
    }

    fn no_thread(&self) -> impl Fn(io::Error) -> NetnsError {
        |source| NetnsError::Thread { path: self.path.to_path_buf(), source }
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn id(meta: &std::fs::Metadata) -> NetnsId {
    NetnsId { device: meta.dev(), inode: meta.ino() }
}

#[cfg(test)]
impl NetnsId {
    /// The id of no namespace.
    pub(crate) fn of_test() -> Self {
        Self { device: 0, inode: 0 }
    }
}

#[cfg(test)]
mod tests;
