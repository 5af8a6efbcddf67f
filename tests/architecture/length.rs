//! Files are short enough to be read in one sitting.

use std::{fs, path::Path};

/// No file is longer than this: what is longer is split by what it is about.
const LONGEST: usize = 550;

/// Those that still are, with the most lines that they may have. None is added; one that is split
/// is taken off.
const STILL_LONGER: [(&str, usize); 0] = [];

#[test]
fn no_file_is_longer_than_550_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wrong = Vec::new();
    let mut still = STILL_LONGER.to_vec();
    let mut folders: Vec<_> =
        ["src", "tests", "benches", "examples"].map(|top| root.join(top)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            let known = still.iter().position(|(long, _)| *long == name).map(|at| still.remove(at));
            match known {
                None if lines > LONGEST => {
                    wrong.push(format!("{name} has {lines} lines: split it by what it is about"));
                }
                Some((_, most)) if lines > most => {
                    wrong
                        .push(format!("{name} has {lines} lines, {most} at most: it is to shrink"));
                }
                Some(_) if lines <= LONGEST => {
                    wrong.push(format!("{name} has {lines} lines: take it off STILL_LONGER"));
                }
                _ => {}
            }
        }
    }
    wrong.extend(still.iter().map(|(gone, _)| format!("{gone} is gone: take it off STILL_LONGER")));
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
