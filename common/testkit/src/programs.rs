//! Finds the workspace's own programs from a test of another crate, built as the test was.

use std::{env, path::PathBuf, process::Command, sync::Once};

/// The built program `name` of this workspace.
///
/// # Panics
/// When it cannot be built.
pub fn path(name: &str) -> PathBuf {
    static BUILD: Once = Once::new();
    let test = env::current_exe().expect("a test knows its own path");
    let folder = test.ancestors().nth(2).expect("tests lie in target/PROFILE/deps").to_owned();
    BUILD.call_once(|| {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--offline", "-p", "kvd", "-p", "kvctl", "-p", "kvshell"]);
        // What cargo tells a test of its package makes build scripts (ring's) believe that everything changed.
        for (name, _) in env::vars_os() {
            if name
                .to_str()
                .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
            {
                build.env_remove(name);
            }
        }
        if folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().is_ok_and(|status| status.success()), "the programs can be built");
    });
    folder.join(name)
}
