//! Dependencies point one way, and the generated files are those that the code generates.

#![allow(clippy::unwrap_used, reason = "tests")]

mod graph;
mod kinds;
mod length;
mod shape;

use std::{
    fs,
    path::{Path, PathBuf},
};

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => found.push((path.clone(), fs::read_to_string(path).unwrap())),
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has sources");
    found
}

/// A line of code, without its comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

#[test]
fn nobody_knows_a_layer_above_their_own() {
    let io = [
        "kube::Client",
        "kube::Api",
        "kube::api::",
        "kube::client",
        "kube::runtime",
        "tokio",
        "tracing",
        "std::env",
        "std::fs",
        "std::net",
        "std::time::Instant",
        "SystemTime",
        "::now()",
    ];
    let rules: [(&str, &[&str]); 4] = [
        (
            "api",
            &[
                "crate::marks",
                "crate::core",
                "crate::workload",
                "crate::shell",
                "crate::telemetry",
                "crate::settings",
            ],
        ),
        (
            "marks",
            &[
                "crate::core",
                "crate::workload",
                "crate::shell",
                "crate::telemetry",
                "crate::settings",
            ],
        ),
        ("core", &["crate::workload", "crate::shell", "crate::telemetry", "crate::settings"]),
        ("workload", &["crate::shell", "crate::telemetry", "crate::settings"]),
    ];
    let mut breaches = Vec::new();
    for (layer, above) in rules {
        for (path, text) in sources(layer) {
            for (number, line) in text.lines().enumerate() {
                for word in above.iter().chain(&io).filter(|word| code(line).contains(**word)) {
                    breaches.push(format!("{}:{}: {word}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

/// A kind that is added answers the questions of `capabilities`, and the compiler asks them. Where a
/// file compares kinds, it would pass over the new one.
#[test]
fn the_core_compares_kinds_of_workloads_in_one_file() {
    let may = ["observed/kind.rs", "observed/policy.rs"];
    let mut found = Vec::new();
    for (path, text) in
        sources("core").iter().filter(|(path, _)| !may.iter().any(|one| path.ends_with(one)))
    {
        let lines = text.lines().take_while(|line| *line != "#[cfg(test)]");
        let compares = |line: &&str| code(line).contains("WorkloadKind::");
        found.extend(lines.filter(compares).map(|line| format!("{}: {line}", path.display())));
    }
    assert!(found.is_empty(), "ask WorkloadKind::capabilities instead:\n{}", found.join("\n"));
}

#[test]
fn the_crd_is_the_one_that_the_types_generate() {
    let committed =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("crds/upgradepolicies.yaml"))
            .unwrap();
    assert!(
        committed == lockkeeper::api::crd::yaml().unwrap(),
        "crds/upgradepolicies.yaml is out of date: run make generate"
    );
}

/// Every flag has an environment variable, and the chart sets only flags that there are.
#[test]
fn flags_have_variables_and_the_chart_knows_them() {
    use clap::CommandFactory;
    let command = lockkeeper::settings::Settings::command();
    let run = command.find_subcommand("run").unwrap();
    let mut flags = Vec::new();
    for argument in run
        .get_arguments()
        .filter(|argument| !["help", "version"].contains(&argument.get_id().as_str()))
    {
        let flag = argument.get_long().unwrap();
        let variable = argument.get_env().unwrap_or_default().to_string_lossy().into_owned();
        assert_eq!(variable, format!("LOCKKEEPER_{}", flag.to_uppercase().replace('-', "_")));
        flags.push(format!("--{flag}="));
    }
    let chart = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/lockkeeper/templates/deployment.yaml"),
    )
    .unwrap();
    let set: Vec<_> = chart
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- ").filter(|word| word.starts_with("--")))
        .collect();
    assert_eq!(set.len(), flags.len(), "the chart sets every flag");
    for line in set {
        assert!(flags.iter().any(|flag| line.starts_with(flag)), "{line} is no flag");
    }
}

/// What the image is built from.
#[test]
fn the_image_is_built_with_every_file_that_the_sources_include() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ignored = fs::read_to_string(root.join(".dockerignore")).unwrap();
    let let_in: Vec<_> = ignored
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .map(|path| root.join(path))
        .collect();
    let mut included = 0;
    for (path, text) in sources("") {
        for relative in
            text.split("include_str!(\"").skip(1).filter_map(|rest| rest.split('"').next())
        {
            let file = path.parent().unwrap().join(relative).canonicalize().unwrap();
            assert!(
                let_in.iter().any(|folder| file.starts_with(folder)),
                ".dockerignore leaves out {}",
                file.display()
            );
            included += 1;
        }
    }
    assert!(included > 5, "{included} files are included");
}

/// `make test` names those that need no cluster, to run them beside those that do.
#[test]
fn make_test_runs_every_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let runs =
        ["Makefile", "tests/run.sh"].map(|file| fs::read_to_string(root.join(file)).unwrap());
    let runs = runs.concat();
    let named: Vec<_> = runs
        .lines()
        .filter(|line| line.contains("--test "))
        .flat_map(|line| line.split([' ', ',', ')', '"']))
        .collect();
    let mut found = 0;
    for folder in ["tests", "tests/model/tests", "tests/local-cluster/tests"] {
        for entry in fs::read_dir(root.join(folder)).unwrap().flatten() {
            let path = entry.path();
            let is_test = path.extension().is_some_and(|extension| extension == "rs")
                || path.join("main.rs").exists();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            if is_test {
                assert!(
                    named.contains(&name.as_str()),
                    "make test does not run {}",
                    path.display()
                );
                found += 1;
            }
        }
    }
    assert!(found > 8, "{found} tests");
}
