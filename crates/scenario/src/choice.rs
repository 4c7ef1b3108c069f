//! Enums whose values are words in a scenario.

use sterna_workload::UnknownName;

use crate::nearest;

/// Declares an enum with its words: `FromStr` names the nearest word on a mistake, `Display` gives the word.
macro_rules! choice {
    (
        $(#[$about:meta])*
        $name:ident ($what:literal) {
            $($(#[$variant_about:meta])* $variant:ident = $word:literal,)+
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_about])* $variant,)+
        }

        impl $name {
            /// Every value, in the order in which they are documented.
            pub const ALL: &[$name] = &[$($name::$variant),+];
            /// The words of [`ALL`](Self::ALL), in the same order.
            pub const NAMES: &[&str] = &[$($word),+];
        }

        impl std::str::FromStr for $name {
            type Err = sterna_workload::UnknownName;

            fn from_str(text: &str) -> Result<$name, sterna_workload::UnknownName> {
                crate::choice::by_name($what, text, $name::NAMES, $name::ALL)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(match self {
                    $($name::$variant => $word,)+
                })
            }
        }
    };
}
pub(crate) use choice;

/// The value whose word is `text`.
pub(crate) fn by_name<T: Copy>(
    what: &'static str,
    text: &str,
    known: &'static [&'static str],
    values: &[T],
) -> Result<T, UnknownName> {
    let found = known.iter().zip(values).find(|(name, _)| **name == text);
    found.map(|(_, value)| *value).ok_or_else(|| UnknownName {
        what,
        found: text.to_owned(),
        nearest: nearest::nearest(text, known.iter().copied()),
        known,
    })
}
