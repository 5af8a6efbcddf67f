//! Archives and programs, by their bytes.

use std::{collections::BTreeMap, fmt::Write as _, io::Read};

use sha2::{Digest, Sha256};

pub fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The files of a `.tar.gz`, which have neither a time of their own nor an owner.
pub fn unpacked(archive: impl Read) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path().unwrap().to_string_lossy().into_owned(), content)
    });
    entries.collect()
}

/// What the head of a program says.
#[derive(Debug, PartialEq)]
pub struct Program {
    /// Such as `linux-amd64`.
    pub platform: String,
    /// A Linux program that starts without libraries; others always have those of their system.
    pub is_static: bool,
}

impl Program {
    pub fn read(content: &[u8]) -> Self {
        let platform = |text: &str| Self { platform: text.to_owned(), is_static: true };
        match content {
            [0x7f, b'E', b'L', b'F', 2, 1, ..] => Self::of_linux(content),
            // Where the second head is, stands at 0x3c.
            [b'M', b'Z', ..] => match at(content, at(content, 0x3c, 4) + 4, 2) {
                0x8664 => platform("windows-amd64"),
                other => panic!("Windows for machine {other:#x}"),
            },
            [0xcf, 0xfa, 0xed, 0xfe, ..] => match at(content, 4, 4) {
                0x0100_0007 => platform("darwin-amd64"),
                0x0100_000c => platform("darwin-arm64"),
                other => panic!("macOS for machine {other:#x}"),
            },
            _ => panic!("no program that is known"),
        }
    }

    fn of_linux(content: &[u8]) -> Self {
        let architecture = match at(content, 18, 2) {
            0x3e => "amd64",
            0xb7 => "arm64",
            other => panic!("Linux for machine {other:#x}"),
        };
        let (table, size, number) = (at(content, 32, 8), at(content, 54, 2), at(content, 56, 2));
        // A segment of this type names the program that loads libraries.
        let is_static = (0..number).all(|one| at(content, table + one * size, 4) != 3);
        Self { platform: format!("linux-{architecture}"), is_static }
    }
}

/// The number of so many bytes at a place.
fn at(content: &[u8], place: usize, bytes: usize) -> usize {
    content[place..place + bytes]
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | usize::from(*byte))
}

#[test]
fn a_program_that_needs_libraries_is_told_from_one_that_does_not() {
    // This test itself is linked to the libraries of the system.
    let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let dynamic = Program::read(&own);
    assert!(dynamic.platform.starts_with("linux-") && !dynamic.is_static, "{dynamic:?}");
}
