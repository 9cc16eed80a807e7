//! The server under attack: the real binary as a child process, configured as for production.

use crate::http;
use crate::token::{KEY, SECRET};
use anyhow::{Context, bail};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// How long a start may take.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// Open files of the server that has few.
pub(crate) const FEW_DESCRIPTORS: u64 = 320;

/// Which configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A UDP port for each of two media threads.
    Range,
    /// One UDP port for both.
    OnePort,
    /// The page is served, which hands out tokens.
    Page,
    /// Few open files are allowed.
    FewDescriptors,
}

#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) metrics: SocketAddr,
    pub(crate) udp: Vec<SocketAddr>,
    pub(crate) log: PathBuf,
    panics: Arc<AtomicU64>,
}

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

impl Server {
    /// Starts one on four ports of its own and waits until it listens.
    pub(crate) fn start(kind: Kind, binary: &Path, port: u16, log: PathBuf) -> anyhow::Result<Self> {
        let (ports, udp) = match kind {
            Kind::OnePort => (format!("udp_port: {}", port + 2), vec![local(port + 2)]),
            Kind::Range | Kind::Page | Kind::FewDescriptors => (
                format!("port_range_start: {}, port_range_end: {}", port + 2, port + 3),
                vec![local(port + 2), local(port + 3)],
            ),
        };
        let page = kind == Kind::Page;
        let config = format!(
            "port: {port}\nbind_addresses: [127.0.0.1]\nkeys: {{{KEY}: {SECRET}}}\n\
             rtc: {{{ports}, node_ip: 127.0.0.1}}\nprometheus: {{port: {}}}\n\
             plenum: {{media: {{threads: 2}}, page: {{enabled: {page}}}}}\nlogging: {{json: false, level: info}}\n",
            port + 1
        );
        let mut command = match kind {
            Kind::FewDescriptors => {
                let mut command = Command::new("sh");
                let script = format!("ulimit -n {FEW_DESCRIPTORS} && exec \"$0\" \"$@\"");
                command.arg("-c").arg(script).arg(binary);
                command
            }
            Kind::Range | Kind::OnePort | Kind::Page => Command::new(binary),
        };
        command.args(["--config-body", &config]).env_clear();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let lines = BufReader::new(child.stderr.take().context("piped")?).lines();
        let (told, listening) = mpsc::channel();
        let panics = Arc::new(AtomicU64::new(0));
        let mut file = File::create(&log)?;
        std::thread::spawn({
            let panics = Arc::clone(&panics);
            move || {
                for line in lines.map_while(Result::ok) {
                    // A log that cannot be written is missed by nobody who is there to read it.
                    let _ = writeln!(file, "{line}");
                    if line.contains("panicked at") {
                        panics.fetch_add(1, Ordering::Relaxed);
                    }
                    if line.contains("listening") {
                        let _ = told.send(());
                    }
                }
            }
        });
        let server = Self {
            child,
            address: local(port),
            metrics: local(port + 1),
            udp,
            log,
            panics,
        };
        if listening.recv_timeout(START_PATIENCE).is_err() {
            bail!("the server does not listen; see {}", server.log.display());
        }
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it go before other work of the machine, where the system permits it.
    pub(crate) fn prefer(&self) {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid()));
        let names = tasks.into_iter().flatten().flatten().map(|task| task.file_name());
        for id in names.filter_map(|name| name.to_str()?.parse().ok()) {
            // Refused to who is not root.
            let _ = rustix::process::setpriority_process(rustix::process::Pid::from_raw(id), -10);
        }
    }

    /// Whether the process is there.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Faults of its own that it counted or logged since the start.
    pub(crate) fn faults(&self) -> anyhow::Result<u64> {
        let answer = http::get(self.metrics, "/metrics", Duration::from_secs(2))?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let ours = |line: &&str| {
            !line.starts_with('#')
                && (line.contains("panic") || line.contains("_failed_total") || line.contains("threads_dead"))
                && !line.contains("join")
        };
        let values = text
            .lines()
            .filter(ours)
            .filter_map(|line| line.rsplit(' ').next());
        let counted: f64 = values.filter_map(|value| value.parse::<f64>().ok()).sum();
        Ok(counted as u64 + self.panics.load(Ordering::Relaxed))
    }

    /// Seconds of processor time so far.
    pub(crate) fn cpu_s(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: f64 = fields
            .skip(11)
            .take(2)
            .filter_map(|value| value.parse::<f64>().ok())
            .sum();
        ticks / rustix::param::clock_ticks_per_second() as f64
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
