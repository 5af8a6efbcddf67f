//! The table of Kubernetes versions tells what `make matrix` found.

use std::{collections::BTreeMap, fs, path::Path};

const PAGE: &str = "docs/install.md";
const RESULTS: &str = "tests/matrix";
/// The modules that the versions are built from.
const MODULES: &str = "tests/local-cluster/controlplane";
const BEGIN: &str = "<!-- By `make matrix`, from tests/matrix. -->\n";
const END: &str = "<!-- The end of what `make matrix` wrote. -->\n";

/// What is tried on each version, and how users would say it.
const TRIED: [(&str, &str); 9] = [
    ("p2_", "Changed config is rolled out, once"),
    ("p3_", "Config that no pod reads rolls nothing"),
    ("p6_", "A changed template is held until its gates open"),
    ("p7_", "A newer change needs an approval of its own"),
    ("p9_", "A change back is let through at once"),
    ("p10_", "What you declared comes back with the release"),
    ("p16_", "Approvals and bypasses count only from those who may"),
    ("conformance", "The admission rules answer each of the test cases as specified"),
    ("walk", "[getting-started.md](getting-started.md) works as written"),
];

/// What was found on one version, by what was tried.
struct Found {
    minor: u32,
    version: String,
    answers: BTreeMap<String, String>,
}

fn found() -> Vec<Found> {
    let mut all: Vec<_> = fs::read_dir(RESULTS)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|file| file.extension().is_some_and(|extension| extension == "tsv"))
        .map(|file| {
            let text = fs::read_to_string(&file).unwrap();
            let mut answers: BTreeMap<_, _> = text
                .lines()
                .filter_map(|line| line.split_once('\t'))
                .map(|(tried, answer)| (tried.to_owned(), answer.to_owned()))
                .collect();
            let name = file.file_stem().unwrap().to_str().unwrap();
            let minor = name.strip_prefix("1.").unwrap().parse().unwrap();
            let version = answers.remove("Kubernetes").unwrap();
            Found { minor, version, answers }
        })
        .collect();
    all.sort_by_key(|found| found.minor);
    all
}

fn table(all: &[Found]) -> String {
    let row = |first: &str, cells: Vec<&str>| format!("| {first} | {} |\n", cells.join(" | "));
    let mut text = row("Kubernetes", all.iter().map(|one| one.version.as_str()).collect());
    text += &row("---", vec!["---"; all.len()]);
    for (tried, said) in TRIED {
        text += &row(said, all.iter().map(|one| one.answers[tried].as_str()).collect());
    }
    text
}

#[test]
fn the_table_of_kubernetes_versions_is_what_make_matrix_found() {
    let all = found();
    for one in &all {
        let module = Path::new(MODULES).join(format!("1.{}/go.mod", one.minor));
        let version = format!("k8s.io/kubernetes v{} ", one.version);
        assert!(
            fs::read_to_string(&module).unwrap().contains(&version),
            "{} is not {}: make matrix VERSIONS=1.{}",
            module.display(),
            one.version,
            one.minor
        );
        let tried: Vec<_> = one.answers.keys().map(String::as_str).collect();
        let mut known = TRIED.map(|(tried, _)| tried);
        known.sort_unstable();
        assert_eq!(tried, known, "of {}", one.version);
    }
    let page = fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the table's beginning");
    let (written, after) = rest.split_once(END).expect("the table's end");
    let table = table(&all);
    if std::env::var_os("LOCKKEEPER_WRITE").is_some() {
        fs::write(PAGE, format!("{before}{BEGIN}\n{table}\n{END}{after}")).unwrap();
        return;
    }
    assert_eq!(written.trim(), table.trim(), "make matrix writes it into {PAGE}");
}
