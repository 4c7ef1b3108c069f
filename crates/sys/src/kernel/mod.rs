//! Loops over memory that other threads may be writing; `Region` explains why they are what they
//! are.
//!
//! Each kernel exists once for every processor ([`portable`], relaxed atomics) and once in x86-64
//! assembly, picked at the first call by what the processor has. The portable form is also what
//! tests compare with.

pub(crate) mod crc;
pub(crate) mod diff;
pub(crate) mod page;
mod portable;
pub(crate) mod summed;
pub(crate) mod write;
#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
mod x86_write;
