//! The first words on a control connection: versions and the token.

use sterna_wire::control::{OLDEST_VERSION, Reply, VERSION, Welcome};
use sterna_wire::stream::negotiate;

/// Tells running machines apart: the kernel draws it anew at each start, and containers share it with their machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The answer to a pilot that speaks the versions `theirs` (oldest, newest) and knows `token`; the host expects `expected`, or takes anybody.
pub fn greet(theirs: (u16, u16), token: &str, expected: Option<&str>) -> Reply {
    let (oldest, newest) = theirs;
    // A pilot that names one version speaks that one alone.
    let oldest = if oldest == 0 { newest } else { oldest };
    let ours = (OLDEST_VERSION, VERSION);
    let error = match negotiate(ours, (oldest, newest)) {
        None => format!(
            "The pilot speaks control versions {oldest} to {newest}, this host {} to {} (Sterna {}); use the same release on both",
            ours.0,
            ours.1,
            env!("CARGO_PKG_VERSION")
        ),
        Some(_) if expected.is_some_and(|it| !is_same(it, token)) => match token {
            "" => "This host asks for its token; give it by STERNA_HOST_TOKEN or --token-file",
            _ => "The token is wrong; it stands in the file, the variable or the output of `sterna host`",
        }
        .to_owned(),
        Some(version) => return Reply::Welcome(welcome(version)),
    };
    Reply::Refused { error, unsupported: false }
}

fn welcome(version: u16) -> Welcome {
    Welcome {
        version,
        pid: std::process::id(),
        release: Some(env!("CARGO_PKG_VERSION").to_owned()),
        machine: machine(),
        address: None,
        pilot_address: None,
    }
}

/// What tells this machine from others; `None` where the kernel does not say.
pub fn machine() -> Option<String> {
    std::fs::read_to_string(BOOT_ID).ok().map(|it| it.trim().to_owned())
}

/// Takes the same time wherever the difference is.
fn is_same(expected: &str, found: &str) -> bool {
    expected.len() == found.len()
        && expected.bytes().zip(found.bytes()).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_meet_or_are_named() {
        #[track_caller]
        fn check(theirs: (u16, u16), expected: Option<u16>) {
            match greet(theirs, "t", Some("t")) {
                Reply::Welcome(welcome) => assert_eq!(Some(welcome.version), expected),
                Reply::Refused { error, .. } => {
                    assert_eq!(expected, None, "{error}");
                    assert!(error.contains("use the same release"), "{error}");
                }
                other => panic!("{other:?}"),
            }
        }
        check((0, VERSION), Some(VERSION));
        check((VERSION, VERSION + 1), Some(VERSION));
        check((VERSION + 1, VERSION + 2), None);
        check((0, VERSION + 1), None);
    }

    #[test]
    fn tokens_are_compared_whole() {
        #[track_caller]
        fn check(token: &str, expected: Option<&str>, told: &str) {
            let found = format!("{:?}", greet((1, 1), token, expected));
            assert!(found.contains(told), "{found}");
        }
        check("secret", Some("secret"), "Welcome");
        check("", None, "Welcome");
        check("anything", None, "Welcome");
        check("secre", Some("secret"), "token is wrong");
        check("secres", Some("secret"), "token is wrong");
        check("", Some("secret"), "asks for its token");
    }
}
