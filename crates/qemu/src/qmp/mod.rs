//! QMP, the JSON language in which QEMU is told what to do.
