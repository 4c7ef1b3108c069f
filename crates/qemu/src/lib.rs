//! Real QEMU, flown by the same pilot as every engine.
//!
//! Two QEMU processes run the same small guest, one after the other: a kernel of the host, and as its only program Sterna's agent, which runs the workload and tells what it sees.
#![forbid(unsafe_code)]

pub mod qmp;
pub mod guest_image;
mod initramfs;
mod kernel;
mod modules;
mod unpack;
