//! Installing what the commands need: Debian packages, npm and Python packages.
//!
//! Each step first looks whether the thing is there, so a second run costs nothing.

use crate::run::{has, heading, run, run_in};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::Path;

/// (program that proves the package is there, Debian package).
const SYSTEM: &[(&str, &str)] = &[
    ("chromium", "chromium"),
    ("ffmpeg", "ffmpeg"),
    ("firefox-esr", "firefox-esr"),
    ("ip", "iproute2"),
    ("node", "nodejs"),
    ("npm", "npm"),
];

/// What `cargo xtask dev` needs besides Rust and a C compiler.
pub(crate) fn for_web() -> Result<()> {
    system(&["node", "npm"])?;
    npm("web")
}

/// What the server's tests need: an encoder and a decoder of H.265, which no browser here has.
pub(crate) fn for_server() -> Result<()> {
    system(&["ffmpeg"])
}

/// What the stock-client tests need.
pub(crate) fn for_interop() -> Result<()> {
    system(&["chromium", "ffmpeg", "firefox-esr", "node", "npm"])?;
    gstreamer()?;
    npm("interop")?;
    python("interop/.venv", "interop/requirements.txt")?;
    for (venv, requirements) in AIORTC {
        python(venv, requirements)?;
    }
    python_suite("interop/requirements.txt", "interop/suites/python/fetched")
}

/// The WebRTC stack whose data channels were of an old draft still, and the present one.
const AIORTC: [(&str, &str); 2] = [
    ("interop/.venv-aiortc-1.9", "interop/stacks/aiortc-1.9.txt"),
    ("interop/.venv-aiortc", "interop/stacks/aiortc.txt"),
];

/// GStreamer's WebRTC elements, and their bindings for the distribution's own Python.
fn gstreamer() -> Result<()> {
    let check = "/usr/bin/python3 interop/stacks/gstreamer.py --check 2>/dev/null";
    match run("sh", &["-c", check]) {
        Ok(()) => Ok(()),
        Err(_) => packages(&[
            "gir1.2-gst-plugins-bad-1.0",
            "gir1.2-gst-plugins-base-1.0",
            "gstreamer1.0-nice",
            "gstreamer1.0-plugins-bad",
            "gstreamer1.0-plugins-base",
            "gstreamer1.0-plugins-good",
            "python3-gi",
        ]),
    }
}

/// Pion as a participant, if there is a Go toolchain.
pub(crate) fn pion() -> Result<()> {
    heading("building the participant on Pion");
    if !has("go") {
        bail!("this needs a Go toolchain of version 1.24 or later");
    }
    run_in("interop/stacks/pion", "go", &["build", "-o", "pion", "."])
}

/// Everything.
pub(crate) fn everything() -> Result<()> {
    for_server()?;
    for_web()?;
    for_interop()
}

fn system(programs: &[&str]) -> Result<()> {
    let missing: Vec<&str> = SYSTEM
        .iter()
        .filter(|(program, _)| programs.contains(program) && !has(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    packages(&missing)
}

/// Installs Debian packages.
fn packages(missing: &[&str]) -> Result<()> {
    heading(&format!("installing {}", missing.join(", ")));
    if !has("apt-get") {
        bail!(
            "please install {} with your system's package manager, then run this again",
            missing.join(", ")
        );
    }
    let sudo = if run("sh", &["-c", "test \"$(id -u)\" = 0"]).is_ok() {
        ""
    } else {
        "sudo "
    };
    run("sh", &["-c", &format!("{sudo}apt-get update -q")])?;
    let packages = missing.join(" ");
    run(
        "sh",
        &[
            "-c",
            &format!(
                "DEBIAN_FRONTEND=noninteractive {sudo}apt-get install -y -q --no-install-recommends {packages}"
            ),
        ],
    )
}

/// `npm ci` in a folder, unless the lock file is the one that was installed last.
fn npm(folder: &str) -> Result<()> {
    let lock = format!("{folder}/package-lock.json");
    if !Path::new(&lock).exists() {
        bail!("{lock} is missing");
    }
    installed_once(&lock, &format!("{folder}/node_modules/.installed"), || {
        heading(&format!("npm packages of {folder}/"));
        run_in(
            folder,
            "npm",
            &["ci", "--no-audit", "--no-fund", "--loglevel=error"],
        )
    })
}

/// A virtual environment with the packages of a requirements file.
fn python(venv: &str, requirements: &str) -> Result<()> {
    installed_once(requirements, &format!("{venv}/.installed"), || {
        heading("Python packages for the interop tests");
        if !Path::new(venv).join("bin/python").exists() && run("python3", &["-m", "venv", venv]).is_err() {
            run(
                "sh",
                &["-c", "apt-get install -y -q --no-install-recommends python3-venv"],
            )?;
            run("python3", &["-m", "venv", venv])?;
        }
        let pip = format!("{venv}/bin/pip");
        run(
            &pip,
            &["install", "-q", "--disable-pip-version-check", "-r", requirements],
        )
    })
}

/// The tests of the Python SDK, which only the source package of the version that is installed has.
fn python_suite(requirements: &str, target: &str) -> Result<()> {
    fs::create_dir_all(target)?;
    installed_once(requirements, &format!("{target}/.installed"), || {
        heading("tests of the Python SDK");
        let wanted = fs::read_to_string(requirements)?;
        let version = wanted
            .lines()
            .find_map(|line| line.strip_prefix("livekit=="))
            .with_context(|| format!("{requirements} pins no livekit"))?;
        let package = format!("livekit=={version}");
        run(
            "interop/.venv/bin/pip",
            &[
                "download",
                "-q",
                "--no-deps",
                "--no-binary",
                "livekit",
                "-d",
                target,
                &package,
            ],
        )?;
        let archive = format!("{target}/livekit-{version}.tar.gz");
        run(
            "tar",
            &[
                "xzf",
                &archive,
                "-C",
                target,
                "--strip-components=1",
                "--wildcards",
                "*/tests/*",
            ],
        )
    })
}

/// Runs `install` unless `stamp` holds the present text of `source`.
fn installed_once(source: &str, stamp: &str, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let wanted = fs::read_to_string(source)?;
    if fs::read_to_string(stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    install()?;
    fs::write(stamp, wanted)?;
    Ok(())
}
