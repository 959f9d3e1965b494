//! The program under test, built as it is shipped.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use escargot::CargoBuild;

/// Where the `dps-pki` binary is, built from the present sources with the profile of these tests.
///
/// Cargo names a binary's path to the tests of its own package only, so cargo is asked once more. It
/// has let go of the target folder by then, and has most of the work done already.
pub fn binary() -> &'static Path {
    static BINARY: LazyLock<PathBuf> = LazyLock::new(build);
    &BINARY
}

fn build() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    // TARGET/PROFILE/deps/TEST
    let folders: Vec<&Path> = test.ancestors().collect();
    let profile = folders[2].file_name();
    let target = folders[3];
    let profile = match profile.and_then(|name| name.to_str()).expect("a profile") {
        "debug" => "dev",
        name => name,
    };
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pki-cli/Cargo.toml");
    let built = CargoBuild::new()
        .manifest_path(manifest)
        .bin("dps-pki")
        .target_dir(target)
        .args(["--profile", profile])
        .run();
    built.expect("dps-pki builds").path().to_owned()
}
