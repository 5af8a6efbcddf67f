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
