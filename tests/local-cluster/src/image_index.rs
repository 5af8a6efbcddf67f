//! Images for several architectures, joined to one.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{Error, Trying};

/// Joins tarballs in the OCI layout, each for one architecture, to one folder in that layout.
///
/// # Errors
/// When two are for the same architecture, a tarball is no OCI layout, or the folder cannot be
/// written.
pub fn join(tarballs: &[PathBuf], folder: &Path) -> Result<(), Error> {
    let mut manifests = Vec::new();
    let mut architectures = BTreeSet::new();
    for tarball in tarballs {
        let file = File::open(tarball).trying(|| format!("opening {}", tarball.display()))?;
        tar::Archive::new(file)
            .unpack(folder)
            .trying(|| format!("unpacking {}", tarball.display()))?;
        let index = fs::read(folder.join("index.json"))
            .trying(|| format!("reading the index of {}", tarball.display()))?;
        let index: Value = serde_json::from_slice(&index).unwrap_or_default();
        // It has an entry for each name of the image; which name it has, the push says.
        let Some(manifest) = index["manifests"].get(0) else {
            return Err(Error::Image(format!("{} has no image", tarball.display())));
        };
        let platform = &manifest["platform"];
        if !architectures.insert(platform["architecture"].to_string()) {
            let what = format!("{} is for the same architecture as another", tarball.display());
            return Err(Error::Image(what));
        }
        manifests.push(json!({
            "mediaType": manifest["mediaType"], "digest": manifest["digest"],
            "size": manifest["size"], "platform": platform,
        }));
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests});
    fs::write(folder.join("index.json"), index.to_string())
        .trying(|| format!("writing the index in {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Image;

    #[test]
    fn images_for_two_architectures_are_one_with_both_and_two_for_the_same_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let tarball = |architecture: &str| {
            let program = folder.path().join(format!("program-{architecture}"));
            fs::write(&program, architecture).unwrap();
            let image = Image {
                names: vec!["one:v1".into(), "one:v2".into()],
                dockerfile: "FROM scratch\nCOPY app /app\n".into(),
                files: [("app".to_owned(), program)].into(),
                architecture: architecture.into(),
            };
            let to = folder.path().join(format!("{architecture}.tar"));
            (image.write(&to).unwrap(), to)
        };
        let ((first, one), (second, two)) = (tarball("amd64"), tarball("arm64"));
        let out = folder.path().join("image");
        join(&[one.clone(), two], &out).unwrap();
        let index: Value =
            serde_json::from_slice(&fs::read(out.join("index.json")).unwrap()).unwrap();
        let of = |at: usize| {
            let manifest = &index["manifests"][at];
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (text(&manifest["platform"]["architecture"]), text(&manifest["digest"]))
        };
        assert_eq!(of(0), ("amd64".to_owned(), first));
        assert_eq!(of(1), ("arm64".to_owned(), second.clone()));
        assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
        assert!(out.join("blobs").join(second.replace(':', "/")).exists());
        assert!(join(&[one.clone(), one], &folder.path().join("again")).is_err());
    }
}
