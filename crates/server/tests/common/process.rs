//! The binary as a process.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// `plenum` with these arguments and nothing else in its environment.
pub(crate) fn plenum(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plenum"));
    command
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied());
    piped(command)
}

/// The same, where it may open so many files.
pub(crate) fn plenum_with_files(files: usize, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {files} && exec \"$0\"");
    command
        .args(["-c", &script, env!("CARGO_BIN_EXE_plenum")])
        .env_clear()
        .envs(environment.iter().copied());
    piped(command)
}

fn piped(mut command: Command) -> Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A running server; killed when dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Running {
    /// Starts and waits for the line that names the address.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let keep = |log: &Mutex<String>, line: &str| {
            let mut log = log.lock().expect("not poisoned");
            log.push_str(line);
            log.push('\n');
        };
        let address = lines.find_map(|line| {
            let line = line.expect("text");
            keep(&log, &line);
            let (_, rest) = line
                .split_once("127.0.0.1:")
                .filter(|_| line.contains("listening"))?;
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            Some(SocketAddr::from((
                [127, 0, 0, 1],
                digits.parse().expect("a port"),
            )))
        });
        // The pipe is kept drained, so that the server never waits for us.
        let rest = Arc::clone(&log);
        let reader =
            std::thread::spawn(move || lines.for_each(|line| keep(&rest, &line.unwrap_or_default())));
        Self {
            child,
            address: address.expect("it listens"),
            log,
            reader: Some(reader),
        }
    }

    /// Asks the server to stop; its exit code, and what it printed.
    pub(crate) fn terminate(mut self) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .expect("kill")
                .success()
        );
        let code = self.child.wait().expect("it ends").code();
        let mut printed = String::new();
        let mut stdout = self.child.stdout.take().expect("piped");
        stdout.read_to_string(&mut printed).expect("text");
        (code, printed)
    }

    /// Ends the server; all that it logged.
    pub(crate) fn log(mut self) -> String {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
        let reader = self.reader.take().expect("once");
        reader.join().expect("it reads to the end");
        std::mem::take(&mut self.log.lock().expect("not poisoned"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
