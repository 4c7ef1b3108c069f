//! What a write does to its page.

use std::fmt;
use std::str::FromStr;

use super::error::SpecError;
use super::number;
use super::text::{out_of_range, unknown, with_parameters};

/// What a write does to its page.
///
/// Every method but `zero` adds one to the page's stamp, the word that [`crate::stamp_word`] names, which is what makes a
/// lost write show for ever.
/// A page of zeros tells that it was written, but not how often, so there a loss shows only while it was not made good
/// for by a later write.
///
/// | method | the words of page p after n > 0 writes, but the stamp |
/// |---|---|
/// | touch, counter | as filled |
/// | write64, write64nt | all the same, mixed from seed, p and n |
/// | write1024 | sixteen different ones over and over, mixed from seed, p and n |
/// | xor-random | as filled, exclusive or n rows of random words; after 1024 writes the rows come again |
/// | fill-random | random words, exclusive or one that is mixed from seed, p and n |
/// | compressible | the first ones as of fill-random, then that one alone |
/// | zero | zero, the stamp too |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Adds one to one word of the page, at an offset that turns from page to page.
    Touch,
    /// Fills the page with one value, eight bytes a store.
    Write64,
    /// Fills the page with one value by eight-byte stores that pass the cache by.
    Write64Nt,
    /// Fills the page with a unit of 128 bytes, as wide as the processor stores.
    Write1024,
    /// Makes the page zero.
    Zero,
    /// Mixes random bytes into all of the page: read, exclusive or, write.
    XorRandom,
    /// Fills the page with new random bytes, past the cache.
    FillRandom,
    /// Fills the page with as many random bytes as make it compress by this ratio, the rest with one value.
    Compressible(Ratio),
    /// Adds one to the page's stamp and leaves the rest alone; the same write as `touch`.
    Counter,
}

/// How many times smaller a compressor is to make a page: from 1 to 100, exact to a hundredth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ratio {
    hundredths: u32,
}

const NAMES: &[&str] = &[
    "touch",
    "write64",
    "write64nt",
    "write1024",
    "zero",
    "xor-random",
    "fill-random",
    "compressible(3)",
    "counter",
];

const PLACES: u32 = 2;

impl Method {
    /// One method of each kind, in the order in which they are documented, that with a parameter with a usual one.
    pub const ALL: &[Method] = &[
        Method::Touch,
        Method::Write64,
        Method::Write64Nt,
        Method::Write1024,
        Method::Zero,
        Method::XorRandom,
        Method::FillRandom,
        Method::Compressible(Ratio { hundredths: 300 }),
        Method::Counter,
    ];

    /// The texts of [`Method::ALL`], for help and completion.
    pub const NAMES: &[&str] = NAMES;
}

impl Ratio {
    /// A ratio in hundredths; None below 1 and above 100.
    pub const fn from_hundredths(hundredths: u32) -> Option<Ratio> {
        if hundredths >= 100 && hundredths <= 10_000 { Some(Ratio { hundredths }) } else { None }
    }

    /// In hundredths, from 100 to 10000.
    pub const fn hundredths(self) -> u32 {
        self.hundredths
    }
}

impl FromStr for Method {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Method, SpecError> {
        let (name, parameter) = with_parameters(text);
        if name == "compressible" {
            return ratio(text, parameter).map(Method::Compressible);
        }
        let found = NAMES.iter().zip(Method::ALL).find(|(known, _)| **known == text);
        found.map(|(_, method)| *method).ok_or_else(|| unknown("method", text, NAMES).into())
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Method::Touch => "touch",
            Method::Write64 => "write64",
            Method::Write64Nt => "write64nt",
            Method::Write1024 => "write1024",
            Method::Zero => "zero",
            Method::XorRandom => "xor-random",
            Method::FillRandom => "fill-random",
            Method::Compressible(ratio) => return write!(f, "compressible({ratio})"),
            Method::Counter => "counter",
        })
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        number::write(f, self.hundredths, PLACES)
    }
}

fn ratio(text: &str, ratio: Option<&str>) -> Result<Ratio, SpecError> {
    let way_out = "the ratio is from 1 to 100, with at most two digits after the point, as in compressible(3)";
    ratio
        .and_then(|ratio| number::read(ratio, PLACES))
        .and_then(Ratio::from_hundredths)
        .ok_or_else(|| out_of_range("method", text, way_out))
}
