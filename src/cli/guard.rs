//! What every command does first: nothing of its memory or its files is for others.

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, setrlimit, umask};

/// No core dumps, no look into the memory by other processes of the same user, and new files for the user alone. Secrets are
/// in the memory of most commands. A system that refuses is told of in the log of debug, as nothing better can be done.
pub fn private() {
    umask(Mode::RWXG | Mode::RWXO);
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::debug!(%error, "core dumps can't be switched off");
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
            tracing::debug!(%error, "the memory can't be closed to others");
        }
    }
}
