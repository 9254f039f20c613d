//! Room on the disk. A job that can't be written down is a job that can be lost, so none is taken while there is little
//! room; those that were taken, and their payments, are seen through.

use std::path::Path;

use rustix::fs::statvfs;

/// Below this no job is taken.
pub const LEAST_MB: u64 = 200;

/// Whole megabytes that vend may still write to the file system of `path`; none where the system does not say.
#[must_use]
pub fn free_mb(path: &Path) -> Option<u64> {
    let system = statvfs(path).ok()?;
    Some(system.f_bavail.saturating_mul(system.f_frsize) / 1_000_000)
}

/// Why no job is taken with so little room; none where there is enough.
#[must_use]
pub fn cramped(free: u64) -> Option<String> {
    (free < LEAST_MB).then(|| {
        format!("disk: {free} MB are free for the ledger, and below {LEAST_MB} MB no job is taken: free some space")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_room_is_told_with_what_to_do() {
        assert_eq!(cramped(LEAST_MB), None);
        let told = cramped(12).unwrap();
        assert!(
            told.contains("12 MB") && told.contains("free some space"),
            "{told}"
        );
    }

    #[test]
    fn the_system_says_how_much_is_free() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_mb(folder.path()).is_some());
        assert_eq!(free_mb(&folder.path().join("nothing")), None);
    }
}
