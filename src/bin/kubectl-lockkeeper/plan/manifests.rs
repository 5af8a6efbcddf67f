//! The manifests that would be applied: files, folders, standard input; several documents, lists.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::yaml;
use crate::cluster::Failure;

/// What a folder is searched for, as kubectl does.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// An object as a file has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The file, and which document in it.
    pub source: String,
    /// The object.
    pub object: Value,
}

/// Reads all of them; `-` is standard input.
pub fn read(names: &[String], recursive: bool) -> Result<Vec<Manifest>, Failure> {
    let mut manifests = Vec::new();
    for name in names {
        if name == "-" {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|error| unreadable("standard input", &error))?;
            manifests.extend(parse("standard input", &text)?);
            continue;
        }
        for file in files(Path::new(name), recursive)? {
            let place = file.display().to_string();
            let text =
                std::fs::read_to_string(&file).map_err(|error| unreadable(&place, &error))?;
            manifests.extend(parse(&place, &text)?);
        }
    }
    match manifests.is_empty() {
        true => Err(Failure::No(format!(
            "{} contains no Kubernetes objects. Is it the rendered output?",
            names.join(", ")
        ))),
        false => Ok(manifests),
    }
}

fn unreadable(place: &str, error: &std::io::Error) -> Failure {
    Failure::No(format!("cannot read {place}: {error}"))
}

/// The file, or those of a folder in the order of their names.
fn files(path: &Path, recursive: bool) -> Result<Vec<PathBuf>, Failure> {
    let refused = |error: std::io::Error| unreadable(&path.display().to_string(), &error);
    if !path.metadata().map_err(refused)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries =
        path.read_dir().map_err(refused)?.collect::<Result<Vec<_>, _>>().map_err(refused)?;
    let mut paths: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let known =
            path.extension().is_some_and(|end| EXTENSIONS.iter().any(|known| end == *known));
        match path.is_dir() {
            true if recursive => found.extend(files(&path, true)?),
            false if known => found.push(path),
            _ => {}
        }
    }
    Ok(found)
}

/// The objects of a text: YAML documents or JSON, lists taken apart.
fn parse(source: &str, text: &str) -> Result<Vec<Manifest>, Failure> {
    let documents = yaml::documents(text).map_err(|error| {
        Failure::No(format!(
            "{source} is neither YAML nor JSON: {}",
            error.to_string().lines().next().unwrap_or_default()
        ))
    })?;
    let mut manifests = Vec::new();
    for (number, document) in documents.into_iter().enumerate() {
        let source = format!("{source}, document {}", number + 1);
        collect(&source, document, &mut manifests)?;
    }
    Ok(manifests)
}

fn collect(source: &str, object: Value, manifests: &mut Vec<Manifest>) -> Result<(), Failure> {
    // What a chart renders of a file that is switched off.
    if object.is_null() {
        return Ok(());
    }
    let kind = object["kind"].as_str().filter(|_| object["apiVersion"].is_string());
    let kind = kind.ok_or_else(|| {
        Failure::No(format!("{source} is no Kubernetes object: it needs apiVersion and kind"))
    })?;
    if let (true, Value::Array(items)) = (kind.ends_with("List"), &object["items"]) {
        return items.iter().try_for_each(|item| collect(source, item.clone(), manifests));
    }
    manifests.push(Manifest { source: source.to_owned(), object });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<String>, String> {
        let found = parse("x.yaml", text).map_err(|error| error.to_string())?;
        Ok(found
            .into_iter()
            .map(|one| one.object["metadata"]["name"].as_str().unwrap_or_default().to_owned())
            .collect())
    }

    #[test]
    fn documents_and_lists_are_taken_apart() {
        let list = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n\
                    - {apiVersion: v1, kind: ConfigMapList, items: [{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}]}\n";
        let chart =
            "---\n# Source: x\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: c}\n---\n";
        assert_eq!(names(list).unwrap(), ["a", "b"]);
        assert_eq!(names(chart).unwrap(), ["c"]);
        assert_eq!(
            names(
                "{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"d\"}}"
            )
            .unwrap(),
            ["d"]
        );
        assert!(names("").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_manifest_is_named() {
        assert!(
            names("replicas: 2\n")
                .unwrap_err()
                .contains("x.yaml, document 1 is no Kubernetes object")
        );
        assert!(names("a: [\n").unwrap_err().contains("neither YAML nor JSON"));
    }

    #[test]
    fn folders_are_read_as_kubectl_reads_them() {
        let folder = std::env::temp_dir().join(format!("lockkeeper-plan-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("deeper")).unwrap();
        for name in ["b.yaml", "a.json", "README.md", "deeper/c.yml"] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        let found = |recursive| -> Vec<_> {
            let all = files(&folder, recursive).unwrap();
            all.iter()
                .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
                .collect()
        };
        assert_eq!(found(false), ["a.json", "b.yaml"]);
        assert_eq!(found(true), ["a.json", "b.yaml", "c.yml"]);
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(files(&folder, false).unwrap_err().to_string().contains("cannot read"));
    }
}
