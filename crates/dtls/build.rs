//! Compiles AWS-LC's libssl from the sources of `aws-lc-sys`, unchanged, against the libcrypto that
//! `aws-lc-sys` has built. Its own `ssl` feature would do the same, but wants CMake and libclang on
//! every machine that builds Plenum; this wants the C++ compiler that stands beside the C compiler.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The version that the workspace pins; its libcrypto's symbols carry it as a prefix.
const VERSION: &str = "0.47.0";
const PREFIX: &str = "aws_lc_0_47_0";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=AWS_LC_SOURCE");
    let include =
        env::var_os("DEP_AWS_LC_0_47_0_INCLUDE").expect("aws-lc-sys is the version pinned in Cargo.toml");
    let ssl = source().join("aws-lc/ssl");
    let mut build = cc::Build::new();
    build
        .cpp(true)
        // libssl is written to need nothing of the C++ library.
        .cpp_link_stdlib(None)
        .std("c++14")
        .flag_if_supported("-fno-exceptions")
        .flag_if_supported("-fno-rtti")
        .warnings(false)
        // Handshakes are what a join waits for: optimised in every profile.
        .opt_level(2)
        .debug(false)
        .define("NDEBUG", None)
        .define("BORINGSSL_IMPLEMENTATION", None)
        .define("BORINGSSL_PREFIX", PREFIX)
        .include(include);
    for file in files(&ssl) {
        build.file(file);
    }
    build.compile("plenum_ssl");
}

/// Every source of the library itself.
fn files(ssl: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(ssl).unwrap_or_else(|error| panic!("{}: {error}", ssl.display()));
    let mut files: Vec<_> = listed
        .map(|entry| entry.expect("a folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "cc"))
        .filter(|path| !path.to_string_lossy().contains("_test"))
        .collect();
    files.sort();
    files
}

/// Where Cargo keeps the sources of `aws-lc-sys`. Cargo does not tell a build script, so: what the
/// environment says, the registry's usual place, what `cargo metadata` says.
fn source() -> PathBuf {
    if let Some(path) = env::var_os("AWS_LC_SOURCE") {
        return path.into();
    }
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let registries = home.and_then(|home| fs::read_dir(home.join("registry/src")).ok());
    let name = format!("aws-lc-sys-{VERSION}");
    let mut usual = registries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join(&name));
    if let Some(path) = usual.find(|path| path.join("aws-lc/ssl").is_dir()) {
        return path;
    }
    told_by_cargo()
        .unwrap_or_else(|| panic!("cannot find the sources of {name}; set AWS_LC_SOURCE to their folder"))
}

fn told_by_cargo() -> Option<PathBuf> {
    let target = env::var("TARGET").ok()?;
    let output = Command::new(env::var_os("CARGO")?)
        .args(["metadata", "--format-version=1", "--filter-platform", &target])
        .current_dir(env::var_os("CARGO_MANIFEST_DIR")?)
        .output()
        .ok()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let package = metadata["packages"]
        .as_array()?
        .iter()
        .find(|package| package["name"] == "aws-lc-sys" && package["version"] == VERSION)?;
    Some(Path::new(package["manifest_path"].as_str()?).parent()?.to_owned())
}
