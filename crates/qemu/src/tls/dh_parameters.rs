//! The group in which both sides agree on a key.
//!
//! A QEMU that serves TLS and finds no such file makes a group of its own each time, which takes 0.35 to 1.2 s of a processor and is over before the migration begins only by luck.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sterna_sys::nameless::NamelessFile;

/// The file's name, where QEMU looks for it.
const FILE: &str = "dh-params.pem";

/// The prime of the group ffdhe2048, RFC 7919, appendix A.1: 2^2048 − 2^1984 + (⌊2^1918 × e⌋ + 560316) × 2^64 − 1. It is public, the same for everybody, and no secret depends on it.
const PRIME: [u64; 32] = [
    0xffff_ffff_ffff_ffff,
    0xadf8_5458_a2bb_4a9a,
    0xafdc_5620_273d_3cf1,
    0xd8b9_c583_ce2d_3695,
    0xa9e1_3641_1464_33fb,
    0xcc93_9dce_249b_3ef9,
    0x7d2f_e363_630c_75d8,
    0xf681_b202_aec4_617a,
    0xd3df_1ed5_d5fd_6561,
    0x2433_f51f_5f06_6ed0,
    0x8563_6555_3ded_1af3,
    0xb557_135e_7f57_c935,
    0x984f_0c70_e0e6_8b77,
    0xe2a6_89da_f3ef_e872,
    0x1df1_58a1_36ad_e735,
    0x30ac_ca4f_483a_797a,
    0xbc0a_b182_b324_fb61,
    0xd108_a94b_b2c8_e3fb,
    0xb96a_dab7_60d7_f468,
    0x1d4f_42a3_de39_4df4,
    0xae56_ede7_6372_bb19,
    0x0b07_a7c8_ee0a_6d70,
    0x9e02_fce1_cdf7_e2ec,
    0xc034_04cd_2834_2f61,
    0x9172_fe9c_e985_83ff,
    0x8e4f_1232_eef2_8183,
    0xc3fe_3b1b_4c6f_ad73,
    0x3bb5_fcbc_2ec2_2005,
    0xc58e_f183_7d16_83b2,
    0xc6f3_4a26_c1b2_effa,
    0x886b_4238_6128_5c97,
    0xffff_ffff_ffff_ffff,
];

/// The generator of that group.
const GENERATOR: u8 = 2;

/// Characters in a line of PEM.
const LINE: usize = 64;

/// Puts the group into a folder of keys, as a link to a file without a name.
pub(super) fn make(folder: &Path) -> std::io::Result<NamelessFile> {
    let mut text = String::from("-----BEGIN DH PARAMETERS-----\n");
    for line in STANDARD.encode(der()).as_bytes().chunks(LINE) {
        text.extend(line.iter().copied().map(char::from));
        text.push('\n');
    }
    text.push_str("-----END DH PARAMETERS-----\n");
    NamelessFile::linked_at(&folder.join(FILE), text.as_bytes())
}

/// `SEQUENCE { INTEGER prime, INTEGER generator }`.
fn der() -> Vec<u8> {
    // The highest bit of an integer is its sign, so a zero goes before the prime.
    let mut prime = vec![0];
    prime.extend(PRIME.iter().flat_map(|it| it.to_be_bytes()));
    let mut content = element(0x02, &prime);
    content.extend(element(0x02, &[GENERATOR]));
    element(0x30, &content)
}

/// A tag, the length in as many bytes as it takes, and the content.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|it| **it == 0).count()..];
    let mut bytes = vec![tag];
    if content.len() >= 0x80 {
        bytes.push(0x80 | length.len() as u8);
    }
    bytes.extend(length);
    bytes.extend(content);
    bytes
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_length_below_128_is_one_byte_and_a_longer_one_says_how_many() {
        assert_eq!(element(2, &[7]), [2, 1, 7]);
        assert_eq!(element(4, &[0; 200])[..3], [4, 0x81, 200]);
        assert_eq!(der()[..9], [0x30, 0x82, 1, 8, 2, 0x82, 1, 1, 0]);
        assert_eq!(der().len(), 268);
    }

    #[test]
    fn openssl_recognises_the_group_of_the_rfc() {
        let folder = tempfile::tempdir().unwrap();
        let _held = make(folder.path()).unwrap();
        let mut openssl = Command::new("openssl");
        openssl.args(["dhparam", "-check", "-noout", "-text", "-in"]).arg(folder.path().join(FILE));
        let Ok(output) = openssl.output() else {
            eprintln!("skipped: there is no openssl to read the file; install the package openssl");
            return;
        };
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{said}");
        assert!(said.contains("2048 bit") && said.contains("ffdhe2048"), "{said}");
    }
}
