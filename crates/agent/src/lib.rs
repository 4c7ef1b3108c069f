//! The agent that runs in a guest, as bytes.
//!
//! `sterna-guest` is built statically by this crate's build script (see there) and embedded, so that the `sterna` binary
//! can put it into an initramfs or into a cloud's user data without finding anything on the machine.
#![forbid(unsafe_code)]

use std::num::NonZeroU64;
use std::sync::OnceLock;

/// The static program, for the target of this build; None where it could not be built (no static libc).
pub fn program() -> Option<&'static [u8]> {
    const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sterna-guest"));
    (!PROGRAM.is_empty()).then_some(PROGRAM)
}

/// The same program, packed by gzip as small as that format allows; packed once, which takes a second or two.
///
/// The usual encoders stop at a size that user data has no room for; see the test of the budget.
pub fn gzipped() -> Option<&'static [u8]> {
    static PACKED: OnceLock<Vec<u8>> = OnceLock::new();
    // More rounds take minutes, and gain a third of a percent.
    const ROUNDS: NonZeroU64 = NonZeroU64::MIN;
    let program = program()?;
    let packed = PACKED.get_or_init(|| {
        let options = zopfli::Options { iteration_count: ROUNDS, ..zopfli::Options::default() };
        let mut packed = Vec::new();
        // Writing to memory cannot fail.
        let _ = zopfli::compress(options, zopfli::Format::Gzip, program, &mut packed);
        packed
    });
    Some(packed)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    /// User data often lives in a Kubernetes secret, which holds 1 MiB; this leaves room for the user's own.
    const BUDGET_BYTES: usize = 900 << 10;
    /// What the user data has beside the agent: its unit, its configuration, the script that starts it.
    const REST_BYTES: usize = 8 << 10;

    #[test]
    fn the_agent_fits_the_budget_of_user_data() {
        let Some(program) = super::program() else {
            eprintln!("skipped: the agent could not be built statically here");
            return;
        };
        let packed = super::gzipped().unwrap();
        let mut unpacked = Vec::new();
        GzDecoder::new(packed).read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == program, "what was packed is another program");
        let packed = packed.len();
        // Base64 in lines of 76 characters.
        let encoded = packed.div_ceil(3) * 4;
        let user_data = encoded + encoded.div_ceil(76) + REST_BYTES;
        eprintln!("{} bytes, packed {packed}, as user data {user_data}", program.len());
        assert!(user_data <= BUDGET_BYTES, "user data of {user_data} bytes exceeds {BUDGET_BYTES}");
    }

    #[test]
    fn the_agent_is_static() {
        let Some(program) = super::program() else {
            eprintln!("skipped: the agent could not be built statically here");
            return;
        };
        assert_eq!(program[..5], *b"\x7FELF\x02");
        // Type EXEC: no position to be found, no loader to find it.
        assert_eq!(u16::from_le_bytes([program[16], program[17]]), 2);
        assert!(!program.windows(5).any(|it| it == b"/ld-l"), "the agent asks for a loader");
    }
}
