//! Keeps the memory of the program, where keys and passphrases are while they are used, off the disk.

use rustix::process::{Resource, Rlimit, setrlimit};

/// Tells the system to write no core dump of this process, and on Linux also to let no other process
/// of the same user look into it.
///
/// It is a second line of defence, so that a system which refuses it does not stop the program.
pub fn keep_off_disk() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none);
    // A limit of zero does not hold for a core pattern that is a pipe; this does.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}
