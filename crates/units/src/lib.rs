//! Quantities that people write and read: sizes, rates, durations, shares.
//!
//! Every flag, scenario field, environment variable and report goes through these types, so that `500MB/s` means
//! the same everywhere and a value that was printed can be read back without loss.
//!
//! Two ways of printing, never mixed:
//! - [`Display`](std::fmt::Display) is canonical and exact. It round-trips, and it is what files and reports carry.
//! - `human()` is rounded to three digits, for eyes only. Nothing parses it.
//!
//! Also here, since every floor shows text: [`printable`] and its siblings, through which all text of others goes.
//!
//! | what | accepted | refused, with a hint |
//! |---|---|---|
//! | size | `256MiB`, `256M` (both 2^20), `256MB` (10^6), `4096`, `1.5GiB` | `256KB`, `1gb`, `0.3B` |
//! | rate | `500MB/s`, `32MiB/s`, `1Gbit/s` | `500M`, `500`, `1Gbps`, `1gbit/s`, `10GbE`, `1e9`, `1,25GB/s` |
//! | duration | `300ms`, `1h 30m`, `1.5s`, `250µs` | `300`, `0,5s` |
//! | size or share | all sizes, `25%`, `12.5%` | `120%`, `0.001%` |
#![forbid(unsafe_code)]

mod bytes;
mod error;
mod human;
mod number;
mod rate;
mod size;
mod span;
mod text;

pub use bytes::Bytes;
pub use error::{ParseError, Problem, Quantity};
pub use human::{human_bits_per_second, human_bytes, human_bytes_per_second, human_seconds};
pub use rate::Rate;
pub use size::{Percent, Size};
pub use span::Span;
pub use text::{pad_left, pad_right, printable, printable_lines, printable_page};

/// Words for "no limit". Fields that can be without one take them; for all others they are no quantity.
const NO_LIMIT: [&str; 4] = ["unlimited", "none", "infinite", "off"];

/// Carries a quantity through serde as its canonical text, both ways.
macro_rules! as_text {
    ($name:ty) => {
        impl TryFrom<String> for $name {
            type Error = crate::ParseError;

            fn try_from(text: String) -> Result<Self, crate::ParseError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }
    };
}
use as_text;
