//! cloud-init's own checker of user data, in a cache.
//!
//! Installing the package would let it act on this machine's next boot; unpacked, it only reads what it is given.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::Result;

use crate::apt::{Apt, Mirror, cache};

/// cloud-init and the modules of Python that it loads.
const PACKAGES: [&str; 16] = [
    "cloud-init",
    "python3-attr",
    "python3-certifi",
    "python3-chardet",
    "python3-charset-normalizer",
    "python3-configobj",
    "python3-idna",
    "python3-jinja2",
    "python3-json-pointer",
    "python3-jsonpatch",
    "python3-jsonschema",
    "python3-markupsafe",
    "python3-pyrsistent",
    "python3-requests",
    "python3-urllib3",
    "python3-yaml",
];

/// Beside those: what is small and used by some of them.
const MORE: [&str; 4] = ["python3-netifaces", "python3-oauthlib", "python3-serial", "python3-six"];

const WRAPPER: &str = r#"#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/root
PYTHONPATH="$root/usr/lib/python3/dist-packages" exec /usr/bin/python3 "$root/usr/bin/cloud-init" "$@"
"#;

/// Fetches and unpacks, unless it was done before; prints the program.
pub fn run() -> Result<()> {
    let cache = cache("cloud-init")?;
    let program = cache.join("cloud-init");
    if !program.exists() {
        fs::create_dir_all(&cache)?;
        let mirror = Mirror::of_this_machine()?;
        let sources = mirror.line("deb", &mirror.release);
        let apt = Apt::new(&cache.join("apt"), &sources, false)?;
        apt.download(PACKAGES.into_iter().chain(MORE))?;
        apt.unpack(&cache.join("root"))?;
        // Last, so that an attempt that was cut short is made again.
        fs::write(&program, WRAPPER)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    }
    println!("{}", program.display());
    Ok(())
}
