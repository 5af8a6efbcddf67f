//! What the system lets a process have.

/// Lets this process open as many files as it may. Many systems let it open 1024 unless it asks for
/// more. Three watches in each namespace with a policy, and a connection to each pod that is asked,
/// are more than that.
pub fn open_files() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
            tracing::warn!(limit = current, %error, "the limit of open files cannot be raised");
        }
    }
}

/// Maximum number of connections that stay open to pods: at most as many are asked at the same
/// time in a large cluster.
#[cfg(target_os = "linux")]
const MOST_CONNECTIONS: usize = 4096;
/// As many where the limit of open files is not known.
#[cfg(not(target_os = "linux"))]
const FEW_CONNECTIONS: usize = 256;

/// How many connections may stay open to pods between two requests: a quarter of the files that
/// this process may have open, since watches and requests need files too.
pub fn kept_connections() -> usize {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Resource, getrlimit};

        let files = getrlimit(Resource::Nofile).current;
        let files = files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
        (files / 4).min(MOST_CONNECTIONS)
    }
    #[cfg(not(target_os = "linux"))]
    FEW_CONNECTIONS
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    #[test]
    fn as_many_files_may_be_open_as_the_system_allows() {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let lower = current.map(|most| most / 2);
        setrlimit(Resource::Nofile, Rlimit { current: lower, maximum }).unwrap();
        super::open_files();
        assert_eq!(getrlimit(Resource::Nofile).current, maximum);
    }
}
