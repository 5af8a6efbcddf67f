//! What `make release` has built is what its pages say. `make release-test` runs this with the
//! folder in `LOCKKEEPER_RELEASE`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod bytes;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::PathBuf,
    process::Command,
};

use serde_json::Value;

use bytes::{Program, sha256, unpacked};

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn folder() -> PathBuf {
    PathBuf::from(std::env::var("LOCKKEEPER_RELEASE").expect("run make release-test"))
}

fn text(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn files() -> BTreeSet<String> {
    let all = fs::read_dir(folder()).unwrap().map(Result::unwrap);
    let files = all.filter(|entry| entry.file_type().unwrap().is_file());
    files.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// The archives of the plugin, by platform, such as `linux-amd64`.
fn archives() -> BTreeMap<String, String> {
    let platform = |name: &String| {
        let rest = name.strip_prefix(&format!("kubectl-lockkeeper-{VERSION}-"))?;
        Some((rest.strip_suffix(".tar.gz")?.to_owned(), name.clone()))
    };
    let archives: BTreeMap<_, _> = files().iter().filter_map(platform).collect();
    assert!(!archives.is_empty(), "there is no archive of the plugin");
    archives
}

#[test]
#[ignore = "needs a release: make release-test"]
fn each_file_has_its_checksum() {
    let sums = text("SHA256SUMS");
    let sums: BTreeMap<_, _> = sums
        .lines()
        .map(|line| line.split_once("  ").unwrap())
        .map(|(sum, name)| (name.to_owned(), sum))
        .collect();
    let mut expected = files();
    expected.remove("SHA256SUMS");
    assert_eq!(sums.keys().cloned().collect::<BTreeSet<_>>(), expected);
    for (name, sum) in sums {
        assert_eq!(sha256(&fs::read(folder().join(&name)).unwrap()), sum, "{name}");
    }
}

#[test]
#[ignore = "needs a release: make release-test"]
fn an_archive_has_the_plugin_for_its_platform_and_the_licence() {
    for (platform, name) in archives() {
        let content = unpacked(File::open(folder().join(name)).unwrap());
        let plugin = program_name(&platform);
        assert_eq!(content.keys().collect::<Vec<_>>(), ["LICENSE", plugin], "{platform}");
        let program = Program::read(&content[plugin]);
        assert_eq!(program.platform, platform);
        assert!(program.is_static, "{platform}: it needs libraries");
    }
}

fn program_name(platform: &str) -> &'static str {
    if platform.starts_with("windows-") { "kubectl-lockkeeper.exe" } else { "kubectl-lockkeeper" }
}

#[test]
#[ignore = "needs a release: make release-test"]
fn krew_is_told_of_each_archive_with_its_checksum() {
    let manifest: Value = serde_saphyr::from_str(&text("lockkeeper-krew.yaml")).unwrap();
    assert_eq!(manifest["spec"]["version"], format!("v{VERSION}"));
    let mut expected = archives();
    for one in manifest["spec"]["platforms"].as_array().unwrap() {
        let label = |name: &str| one["selector"]["matchLabels"][name].as_str().unwrap().to_owned();
        let platform = format!("{}-{}", label("os"), label("arch"));
        let name = expected.remove(&platform).expect("an archive of this platform");
        let uri = one["uri"].as_str().unwrap();
        assert!(uri.ends_with(&format!("/v{VERSION}/{name}")), "{uri}");
        let archive = fs::read(folder().join(name)).unwrap();
        assert_eq!(one["sha256"], sha256(&archive), "{platform}");
        assert_eq!(one["bin"], program_name(&platform));
    }
    assert!(expected.is_empty(), "krew is not told of {expected:?}");
}

#[test]
#[ignore = "needs a release: make release-test"]
fn the_image_has_its_static_programs_for_each_platform() {
    let image = folder().join("image");
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap();
        let content = fs::read(image.join("blobs").join(digest.replace(':', "/"))).unwrap();
        assert_eq!(format!("sha256:{}", sha256(&content)), digest);
        assert_eq!(descriptor["size"], content.len());
        content
    };
    let json = |content: &[u8]| serde_json::from_slice::<Value>(content).unwrap();
    let index = json(&fs::read(image.join("index.json")).unwrap());
    let mut platforms = BTreeSet::new();
    for descriptor in index["manifests"].as_array().unwrap() {
        let manifest = json(&blob(descriptor));
        let configuration = json(&blob(&manifest["config"]));
        let name = |of: &Value| {
            format!("{}-{}", of["os"].as_str().unwrap(), of["architecture"].as_str().unwrap())
        };
        let platform = name(&descriptor["platform"]);
        assert_eq!(name(&configuration), platform);
        assert_eq!(configuration["config"]["User"], "65532:65532");
        let [layer] = manifest["layers"].as_array().unwrap().as_slice() else {
            panic!("{platform}: more than one layer")
        };
        let content = unpacked(&*blob(layer));
        assert_eq!(content.keys().collect::<Vec<_>>(), ["lockkeeper", "lockkeeper-pause"]);
        for (name, program) in content {
            let program = Program::read(&program);
            assert_eq!(program.platform, platform, "{name}");
            assert!(
                program.is_static,
                "{platform}: {name} needs libraries, and the image has none"
            );
        }
        platforms.insert(platform);
    }
    // The plugin is built for each of them too.
    let of_plugin = archives().into_keys().filter(|platform| platform.starts_with("linux-"));
    assert_eq!(platforms, of_plugin.collect());
}

#[test]
#[ignore = "needs a release: make release-test"]
fn the_bill_of_materials_names_what_the_programs_are_built_from() {
    let bill: Value =
        serde_json::from_str(&text(&format!("lockkeeper-{VERSION}.cdx.json"))).unwrap();
    assert_eq!(bill["bomFormat"], "CycloneDX");
    assert_eq!(bill["metadata"]["component"]["name"], "lockkeeper");
    assert_eq!(bill["metadata"]["component"]["version"], VERSION);
    let named: BTreeSet<_> = bill["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| ["name", "version"].map(|field| one[field].as_str().unwrap().to_owned()))
        .collect();

    // Each of them is one of Cargo.lock, with the checksum that is there.
    let lock = fs::read_to_string(format!("{WORKSPACE}/Cargo.lock")).unwrap();
    let locked = locked(&lock);
    for one in bill["components"].as_array().unwrap() {
        let package = ["name", "version"].map(|field| one[field].as_str().unwrap().to_owned());
        let checksum = locked.get(&package).unwrap_or_else(|| panic!("{package:?} is not locked"));
        assert_eq!(one["hashes"][0]["content"], **checksum, "{package:?}");
    }

    // And none is missing of those that cargo links into the programs.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = ["tree", "--package=lockkeeper", "--edges=normal", "--prefix=none", "--locked"];
    let tree = Command::new(cargo).args(tree).arg("--target=all").current_dir(WORKSPACE).output();
    let tree = String::from_utf8(tree.unwrap().stdout).unwrap();
    let linked = tree.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let name = words.next().filter(|name| !name.is_empty())?;
        Some([name.to_owned(), words.next()?.trim_start_matches('v').to_owned()])
    });
    let mut missing: BTreeSet<_> = linked.filter(|package| !named.contains(package)).collect();
    assert!(missing.remove(&["lockkeeper".to_owned(), VERSION.to_owned()]), "cargo printed {tree}");
    assert!(missing.is_empty(), "not named: {missing:?}");
}

/// Packages and checksums of a Cargo.lock.
fn locked(text: &str) -> BTreeMap<[String; 2], String> {
    let packages = text.split("[[package]]").skip(1);
    let field = |package: &str, name: &str| {
        let start = format!("{name} = \"");
        let line = package.lines().find_map(|line| line.strip_prefix(start.as_str()));
        line.unwrap_or_default().trim_end_matches('"').to_owned()
    };
    let one = |package: &str| {
        (["name", "version"].map(|name| field(package, name)), field(package, "checksum"))
    };
    packages.map(one).collect()
}

#[test]
#[ignore = "needs a release: make release-test"]
fn all_public_names_are_those_of_one_place() {
    let registry = std::env::var("REGISTRY").expect("run make release-test");
    let chart = folder().join(format!("lockkeeper-{VERSION}.tgz"));
    let mut all: BTreeMap<_, _> = unpacked(File::open(chart).unwrap())
        .into_iter()
        .map(|(name, content)| (name, String::from_utf8(content).unwrap()))
        .collect();
    let values: Value = serde_saphyr::from_str(&all["lockkeeper/values.yaml"]).unwrap();
    assert_eq!(values["image"]["repository"], format!("{registry}/lockkeeper"));
    let chart: Value = serde_saphyr::from_str(&all["lockkeeper/Chart.yaml"]).unwrap();
    assert_eq!((&chart["version"], &chart["appVersion"]), (&VERSION.into(), &VERSION.into()));
    let images = chart["annotations"]["artifacthub.io/images"].as_str().unwrap();
    assert!(images.contains(&format!("image: {registry}/lockkeeper:{VERSION}\n")), "{images}");
    let readme = &all["lockkeeper/README.md"];
    assert!(readme.contains(&format!(" oci://{registry}/charts/lockkeeper ")), "{readme}");

    all.insert("install.yaml".into(), text("install.yaml"));
    let image = format!("image: \"{registry}/lockkeeper:{VERSION}\"");
    assert!(all["install.yaml"].contains(&image), "install.yaml has no {image}");
    all.insert("lockkeeper-krew.yaml".into(), text("lockkeeper-krew.yaml"));
    if registry != "lockkeeper.dev" {
        for (name, content) in all {
            let public =
                ["lockkeeper.dev/lockkeeper:", "://lockkeeper.dev", "No image is published"];
            let left = content.lines().find(|line| public.iter().any(|name| line.contains(name)));
            assert_eq!(left, None, "{name} names another place");
        }
    }
}
