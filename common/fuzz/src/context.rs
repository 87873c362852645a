//! A `.kvctx` file, or the `config.toml` that chooses one: `kvctl` finds and reads them through its ordinary way, from
//! a folder that only this target writes. What `kvd pki` writes is what `kvctl` reads, too.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use console::{
    Failure,
    context::{Connection, File, Pem, Places, Resolved, resolve},
};
use kvd::pki::Context;
use tempfile::TempDir;

pub(crate) fn run(bytes: &[u8]) {
    let Some((choice, text)) = bytes.split_first() else { return };
    let Ok(decoded) = std::str::from_utf8(text) else { return };
    if choice % 4 == 0 {
        fs::write(file("config.toml"), text).expect("the folder can be written to");
        check(resolve(&Connection::default(), &places()));
        return;
    }
    check(read(text));
    exported(decoded);
    if let Ok(context) = Context::decode(decoded)
        && [&context.ca, &context.cert, &context.key].into_iter().all(|pem| is_plain(pem))
    {
        agree(&context);
    }
}

/// What one program writes, the other reads.
fn agree(context: &Context) {
    let text = context.encode();
    assert_eq!(Context::decode(&text).map(|again| again.endpoints).as_ref(), Ok(&context.endpoints));
    let Ok(resolved) = read(text.as_bytes()) else { return };
    if !context.endpoints.is_empty() {
        assert_eq!(resolved.endpoints, context.endpoints);
    }
    assert_eq!(resolved.protected, context.protected);
    let found = resolved.credentials.expect("a context that has certificates is read with them");
    let pairs = [(&context.ca, &found.ca), (&context.cert, &found.cert), (&context.key, &found.key)];
    for (written, found) in pairs {
        assert_eq!(written.trim(), found.text.trim());
    }
    exported(&text);
}

/// What `kvctl context export` writes says what it read.
fn exported(text: &str) {
    let path = Path::new("x.kvctx");
    let Ok(file) = File::parse(path, text) else { return };
    let again = File::parse(path, &file.encode()).expect("what is written can be read");
    assert_eq!((&again.endpoints, again.protected), (&file.endpoints, file.protected));
    for (before, after) in [(&file.ca, &again.ca), (&file.cert, &again.cert), (&file.key, &again.key)] {
        let text = |pem: &Option<Pem>| pem.as_ref().map(|pem| pem.text.trim_matches('\n').to_owned());
        assert_eq!(text(before), text(after));
    }
}

/// As PEM is: letters, digits, a few signs and line feeds.
fn is_plain(pem: &str) -> bool {
    pem.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=- \n".contains(&byte))
}

fn read(text: &[u8]) -> Result<Resolved, Failure> {
    let context = file("fuzz.kvctx");
    fs::write(&context, text).expect("the folder can be written to");
    let named = context.to_str().map(str::to_owned);
    resolve(&Connection { context: named, ..Connection::default() }, &places())
}

fn check(found: Result<Resolved, Failure>) {
    match found {
        Ok(resolved) => {
            assert!(!resolved.endpoints.is_empty());
            for endpoint in &resolved.endpoints {
                let port = endpoint.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
                assert!(matches!(port, Some(Ok(1..))), "{endpoint} can be dialled");
            }
        }
        Err(failure) => assert_ne!(failure.to_string(), ""),
    }
}

fn places() -> Places {
    FOLDER.with(|folder| Places {
        config: Some(folder.path().to_owned()),
        system: folder.path().join("absent.toml"),
        socket: folder.path().join("absent.sock"),
        here: None,
    })
}

fn file(name: &str) -> PathBuf {
    FOLDER.with(|folder| folder.path().join(name))
}

thread_local! {
    /// A folder with the two files that are written anew for each input; it goes with its thread.
    static FOLDER: TempDir = {
        let folder = tempfile::tempdir().expect("a folder for two files");
        for name in ["config.toml", "fuzz.kvctx"] {
            let path = folder.path().join(name);
            fs::write(&path, "").expect("the folder can be written to");
            fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("the file is ours");
        }
        folder
    };
}
