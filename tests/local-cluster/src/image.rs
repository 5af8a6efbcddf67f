//! Container images without a tool for containers: what the last stage of a Dockerfile says, as a
//! tarball in the OCI layout. The same programs give the same bytes.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{Error, Trying};

const MEDIA: &str = "application/vnd.oci.image";

/// What an image is made of.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its names, such as `lockkeeper.dev/lockkeeper:0.1.0`.
    pub names: Vec<String>,
    /// A Dockerfile whose last stage is `FROM scratch`. That stage alone is read.
    pub dockerfile: String,
    /// The files that its `COPY` instructions name, by their last part.
    pub files: BTreeMap<String, PathBuf>,
    /// In Go's words: `amd64` or `arm64`.
    pub architecture: String,
}

/// What the last stage of a Dockerfile says.
#[derive(Debug, Default, PartialEq)]
struct Stage {
    /// File names, and where they go.
    copies: Vec<(String, String)>,
    /// The `config` of the image's configuration.
    config: Map<String, Value>,
}

/// This machine's architecture in Go's words.
pub fn architecture() -> String {
    match std::env::consts::ARCH {
        "x86_64" => "amd64".to_owned(),
        "aarch64" => "arm64".to_owned(),
        other => other.to_owned(),
    }
}

impl Image {
    /// Writes the tarball; the digest of the image's manifest.
    ///
    /// # Errors
    /// When the Dockerfile has an instruction that is not known here, a file is missing, or the
    /// tarball cannot be written.
    pub fn write(&self, tarball: &Path) -> Result<String, Error> {
        let stage = last_stage(&self.dockerfile)?;
        let layer = self.layer(&stage)?;
        let mut blobs = Blobs::default();
        let mut packed = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::default());
        packed.write_all(&layer).trying(|| "packing a layer".into())?;
        let packed = packed.finish().trying(|| "packing a layer".into())?;
        let packed = blobs.add(packed, &format!("{MEDIA}.layer.v1.tar+gzip"));
        let platform = json!({"architecture": self.architecture, "os": "linux"});
        let mut configuration = platform.clone();
        configuration["config"] = Value::Object(stage.config);
        configuration["rootfs"] = json!({"type": "layers", "diff_ids": [digest(&layer)]});
        let configuration =
            blobs.add(configuration.to_string().into_bytes(), &format!("{MEDIA}.config.v1+json"));
        let kind = format!("{MEDIA}.manifest.v1+json");
        let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": configuration, "layers": [packed]});
        let mut manifest = blobs.add(manifest.to_string().into_bytes(), &kind);
        let digest = manifest["digest"].as_str().unwrap_or_default().to_owned();
        manifest["platform"] = platform;
        let named = self.names.iter().map(|name| {
            let mut one = manifest.clone();
            one["annotations"] = json!({"io.containerd.image.name": name});
            one
        });
        let index = json!({"schemaVersion": 2, "manifests": named.collect::<Vec<_>>()});
        blobs.write(&index, tarball).trying(|| format!("writing {}", tarball.display()))?;
        Ok(digest)
    }

    fn layer(&self, stage: &Stage) -> Result<Vec<u8>, Error> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, to) in &stage.copies {
            let file = self.files.get(name).ok_or_else(|| {
                Error::Image(format!("its Dockerfile copies {name}, which was not given"))
            })?;
            let content = std::fs::read(file).trying(|| format!("reading {}", file.display()))?;
            add(&mut tar, to.trim_start_matches('/'), &content)
                .trying(|| format!("adding {name} to a layer"))?;
        }
        tar.into_inner().trying(|| "ending a layer".into())
    }
}

/// The parts of an image, by digest.
#[derive(Default)]
struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    /// Adds one; its descriptor.
    fn add(&mut self, content: Vec<u8>, kind: &str) -> Value {
        let (digest, size) = (digest(&content), content.len());
        let descriptor = json!({"mediaType": kind, "digest": digest, "size": size});
        self.0.insert(digest, content);
        descriptor
    }

    fn write(self, index: &Value, tarball: &Path) -> std::io::Result<()> {
        let mut tar = tar::Builder::new(std::fs::File::create(tarball)?);
        add(&mut tar, "oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#)?;
        add(&mut tar, "index.json", index.to_string().as_bytes())?;
        for (digest, content) in self.0 {
            add(&mut tar, &format!("blobs/{}", digest.replace(':', "/")), &content)?;
        }
        tar.finish()
    }
}

fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Without times and owners, so that the same content gives the same bytes.
fn add<W: std::io::Write>(
    tar: &mut tar::Builder<W>,
    path: &str,
    content: &[u8],
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    tar.append_data(&mut header, path, content)
}

fn last_stage(dockerfile: &str) -> Result<Stage, Error> {
    let joined = dockerfile.replace("\\\n", " ");
    let lines: Vec<_> = joined
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let from = lines.iter().rposition(|line| line.starts_with("FROM "));
    let Some(from) = from.filter(|from| lines[*from] == "FROM scratch") else {
        return Err(Error::Image("the last stage of its Dockerfile is not FROM scratch".into()));
    };
    let mut stage = Stage::default();
    for line in &lines[from + 1..] {
        stage.add(line).ok_or_else(|| {
            Error::Image(format!("its Dockerfile has a line that is not understood: {line}"))
        })?;
    }
    Ok(stage)
}

impl Stage {
    /// None for an instruction that is not known.
    fn add(&mut self, line: &str) -> Option<()> {
        let (instruction, rest) = line.split_once(' ')?;
        let rest = rest.trim();
        match instruction {
            "COPY" => {
                let mut words = rest.split_whitespace().filter(|word| !word.starts_with("--from="));
                let (from, to) = (words.next()?, words.next()?);
                let whole = words.next().is_none() && to.starts_with('/') && !to.ends_with('/');
                let name = from.rsplit('/').next().filter(|_| whole)?;
                self.copies.push((name.to_owned(), to.to_owned()));
            }
            "USER" => self.set("User", json!(rest)),
            "ENTRYPOINT" => self.set("Entrypoint", serde_json::from_str(rest).ok()?),
            "CMD" => self.set("Cmd", serde_json::from_str(rest).ok()?),
            "EXPOSE" => {
                let ports = rest.split_whitespace().map(|port| (format!("{port}/tcp"), json!({})));
                self.set("ExposedPorts", Value::Object(ports.collect()));
            }
            "ENV" => {
                let mut all = self.config.get("Env").and_then(Value::as_array).cloned();
                let all = all.get_or_insert_default();
                all.extend(
                    pairs(rest)?.into_iter().map(|(name, value)| json!(format!("{name}={value}"))),
                );
                let all = std::mem::take(all);
                self.set("Env", Value::Array(all));
            }
            "LABEL" => {
                let labels = self.config.entry("Labels").or_insert_with(|| json!({}));
                for (name, value) in pairs(rest)? {
                    labels[name] = json!(value);
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn set(&mut self, field: &str, value: Value) {
        self.config.insert(field.to_owned(), value);
    }
}

/// `name=value` and `name="a value"`, with spaces between.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let (mut found, mut rest) = (Vec::new(), text.trim());
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(' ').unwrap_or((after, "")),
        };
        found.push((name.to_owned(), value.to_owned()));
        rest = after.trim_start();
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_dockerfile() -> Stage {
        let dockerfile = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Dockerfile");
        last_stage(&std::fs::read_to_string(dockerfile).unwrap()).unwrap()
    }

    #[test]
    fn the_image_is_the_one_that_the_dockerfile_describes() {
        let stage = of_dockerfile();
        let copies = ["lockkeeper", "lockkeeper-pause"];
        assert_eq!(stage.copies, copies.map(|name| (name.to_owned(), format!("/{name}"))));
        let expected = json!({
            "User": "65532:65532", "Entrypoint": ["/lockkeeper"], "Cmd": ["run"],
            "ExposedPorts": {"8080/tcp": {}},
        });
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(stage.config[field], *value, "{field}");
        }
        assert_eq!(stage.config["Labels"]["org.opencontainers.image.licenses"], "Apache-2.0");
    }

    #[test]
    fn the_same_program_gives_the_same_image_and_another_one_another() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        let image = Image {
            names: vec!["one:v1".into(), "one:v2".into()],
            dockerfile:
                "FROM rust AS build\nRUN make\nFROM scratch\nCOPY --from=build /src/app /app\n\
                         ENV A=1 B=\"2 3\"\nENTRYPOINT [\"/app\"]\n"
                    .into(),
            files: [("app".to_owned(), program.clone())].into(),
            architecture: "arm64".into(),
        };
        let write = |content: &str, to: &str| {
            std::fs::write(&program, content).unwrap();
            let to = folder.path().join(to);
            (image.write(&to).unwrap(), std::fs::read(&to).unwrap())
        };
        let (first, second, third) = (write("one", "1"), write("one", "2"), write("two", "3"));
        assert_eq!(first, second);
        assert_ne!(first.0, third.0);
        let mut tar = tar::Archive::new(first.1.as_slice());
        let index = tar.entries().unwrap().map(Result::unwrap).find_map(|entry| {
            let index = entry.path().unwrap().ends_with("index.json");
            index.then(|| serde_json::from_reader::<_, Value>(entry).unwrap())
        });
        let index = index.unwrap();
        assert_eq!(index["manifests"][1]["annotations"]["io.containerd.image.name"], "one:v2");
        assert_eq!(index["manifests"][0]["digest"], json!(first.0));
        assert_eq!(index["manifests"][0]["platform"]["architecture"], "arm64");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for wrong in
            ["FROM alpine\nCOPY a /a", "FROM scratch\nRUN true", "FROM scratch\nCOPY a b /c/"]
        {
            assert!(last_stage(wrong).is_err(), "{wrong}");
        }
    }
}
