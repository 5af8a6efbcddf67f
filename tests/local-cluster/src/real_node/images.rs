//! The images that each node has besides those that it is given.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Error, Trying,
    image::{Image, architecture},
};

/// What holds the namespaces of a pod.
pub const PAUSE: &str = "lockkeeper.dev/pause:1";
const SAMPLE_APP: [&str; 3] = [
    "lockkeeper.dev/sample-app:v1",
    "lockkeeper.dev/sample-app:v2",
    "lockkeeper.dev/sample-app:v3",
];

/// Writes them into a folder: the tarballs.
pub fn write(folder: &Path, tools: &Path, sample_app: &Path) -> Result<Vec<PathBuf>, Error> {
    let busybox = tools.join("busybox");
    let pause = Image {
        names: vec![PAUSE.to_owned()],
        dockerfile: "FROM scratch\nCOPY busybox /busybox\nENTRYPOINT [\"/busybox\", \"sleep\", \"1000000000\"]\n".into(),
        files: [("busybox".to_owned(), busybox.clone())].into(),
        architecture: architecture(),
    };
    let mut files: BTreeMap<_, _> =
        [("busybox".to_owned(), busybox), ("sample-app".to_owned(), sample_app.to_owned())].into();
    // With a shell, for apps that are told to misbehave by a command.
    let mut dockerfile =
        "FROM scratch\nENV PATH=/bin\nENV ADDRESS=0.0.0.0\nCOPY busybox /bin/sh\nCOPY busybox /bin/busybox\n\
                          COPY sample-app /sample-app\n"
            .to_owned();
    for library in libraries(sample_app)? {
        let name = library.file_name().unwrap_or_default().to_string_lossy().into_owned();
        dockerfile += &format!("COPY {name} {}\n", library.display());
        files.insert(name, library);
    }
    dockerfile += "ENTRYPOINT [\"/sample-app\"]\n";
    let names = SAMPLE_APP.map(str::to_owned).to_vec();
    let sample_app = Image { names, dockerfile, files, architecture: architecture() };
    let mut written = Vec::new();
    for (name, image) in [("pause", pause), ("sample-app", sample_app)] {
        let tarball = folder.join(format!("{name}.tar"));
        image.write(&tarball)?;
        written.push(tarball);
    }
    Ok(written)
}

/// The libraries that a program loads, if it loads any.
fn libraries(program: &Path) -> Result<Vec<PathBuf>, Error> {
    let output = Command::new("ldd").arg(program).output().trying(|| "running ldd".into())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let paths = text.lines().filter_map(|line| {
        line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from)
    });
    Ok(paths.collect())
}
