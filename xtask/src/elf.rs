//! Just enough ELF to tell a static program from a dynamic one.
//!
//! A program that names an interpreter (`PT_INTERP`) is started by the dynamic loader and needs
//! its shared libraries. A static position-independent program has relocations and a `PT_DYNAMIC`
//! too, so neither of those would do as a sign.

use anyhow::{Context as _, Result, ensure};

const PT_INTERP: u32 = 3;

/// Whether a 64-bit little-endian ELF program asks for a dynamic loader.
pub fn wants_interpreter(file: &[u8]) -> Result<bool> {
    ensure!(file.starts_with(b"\x7fELF"), "Not an ELF file");
    ensure!(file.get(4..6) == Some(&[2, 1]), "Not a 64-bit little-endian ELF file");
    let table = usize::try_from(u64::from_le_bytes(field(file, 32)?))?;
    let entry_bytes = usize::from(u16::from_le_bytes(field(file, 54)?));
    let entries = usize::from(u16::from_le_bytes(field(file, 56)?));
    for index in 0..entries {
        let at = table.checked_add(index * entry_bytes).context("Program headers out of range")?;
        if u32::from_le_bytes(field(file, at)?) == PT_INTERP {
            return Ok(true);
        }
    }
    Ok(false)
}

fn field<const N: usize>(file: &[u8], at: usize) -> Result<[u8; N]> {
    let end = at.checked_add(N).context("ELF field out of range")?;
    let bytes = file.get(at..end).with_context(|| format!("ELF file ends before byte {end}"))?;
    bytes.try_into().context("ELF field has a wrong length")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header and program headers of the given types, nothing else.
    fn program(types: &[u32]) -> Vec<u8> {
        let mut file = vec![0; 64 + 56 * types.len()];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[32] = 64;
        file[54] = 56;
        file[56] = u8::try_from(types.len()).unwrap();
        for (index, kind) in types.iter().enumerate() {
            file[64 + 56 * index..][..4].copy_from_slice(&kind.to_le_bytes());
        }
        file
    }

    #[test]
    fn only_an_interpreter_makes_a_program_dynamic() {
        assert!(!wants_interpreter(&program(&[])).unwrap());
        assert!(!wants_interpreter(&program(&[1, 2, 6])).unwrap());
        assert!(wants_interpreter(&program(&[1, 2, PT_INTERP])).unwrap());
    }

    #[test]
    fn this_very_program_is_judged_as_it_was_linked() {
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(wants_interpreter(&file).unwrap(), !cfg!(target_feature = "crt-static"));
    }

    #[test]
    fn what_is_cut_or_foreign_is_refused() {
        let whole = program(&[1, PT_INTERP]);
        for length in [0, 3, 5, 40, 57, 64, 121] {
            assert!(wants_interpreter(&whole[..length]).is_err(), "{length} bytes");
        }
        let mut far = program(&[1]);
        far[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(wants_interpreter(&far).is_err());
        assert!(wants_interpreter(b"#!/bin/sh\nexit\n").is_err());
    }
}
