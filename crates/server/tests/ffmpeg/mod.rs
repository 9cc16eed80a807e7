//! A real encoder and a real decoder of H.265: `ffmpeg` with libx265, which speak RTP (RFC 7798) with
//! the test: the encoder over UDP on the loopback, the decoder as a client of RTSP with interleaved
//! packets (RFC 2326 §10.12), where nothing is lost and the end is told.
#![allow(missing_docs, unreachable_pub, reason = "tests")]

use crate::rtc::stream::Packet;
use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Neither takes a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(12);

/// Pictures in a second, and in all.
pub const RATE: u32 = 15;
pub const PICTURES: usize = 45;
/// Ticks of the clock of pictures (RFC 7798 §4.1) from one to the next.
pub const TICKS: u32 = 90_000 / RATE;
/// Payload type, which only the SDP knows.
const FORMAT: u8 = 96;

/// The samples of a decoded picture, with 4:2:0 colours of 8 bits.
pub type Picture = Vec<u8>;
const WIDTH: usize = 320;
const HEIGHT: usize = 180;

/// What the encoder made.
pub struct Stream {
    /// As sent: in the order of decoding.
    pub packets: Vec<Packet>,
    /// In the order of display, decoded from the encoder's file.
    pub pictures: Vec<Picture>,
}

/// Encodes three seconds of a moving test picture with a setting for a purpose and settings of x265.
pub async fn encode(tune: &str, settings: &str) -> Stream {
    // Everything is read once the encoder has ended: the kernel's buffer holds several times as much.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = socket.local_addr().expect("it is bound").port();
    let source = format!("testsrc=size={WIDTH}x{HEIGHT}:rate={RATE}");
    let settings = format!("{settings}:repeat-headers=1:log-level=error");
    let outputs = format!("[f=hevc]pipe:1|[f=rtp]rtp://127.0.0.1:{port}?rtcpport={port}&pkt_size=1200");
    let count = PICTURES.to_string();
    let mut arguments = vec!["-f", "lavfi", "-i", &source, "-frames:v", &count];
    arguments.extend(["-map", "0:v", "-pix_fmt", "yuv420p", "-c:v", "libx265"]);
    arguments.extend(["-preset", "ultrafast", "-tune", tune, "-x265-params", &settings]);
    arguments.extend(["-f", "tee", &outputs]);
    let child = spawn(&arguments);
    let file = end(child, Vec::new()).await.expect("the encoder");
    socket.set_nonblocking(true).expect("a socket");
    let mut packets: Vec<Packet> = Vec::new();
    let mut buffer = [0; 2048];
    while let Ok(len) = socket.recv(&mut buffer) {
        // Reports come to the same port (RFC 5761 §4).
        if !(192..=223).contains(&buffer[1]) {
            packets.push(parse(&buffer[..len], packets.last()));
        }
    }
    let child = spawn(&decoder(&["-f", "hevc", "-i", "pipe:0"]));
    let samples = end(child, file).await.expect("the encoder's own stream decodes");
    let pictures = pictures(&samples);
    assert_eq!(pictures.len(), PICTURES, "all pictures were encoded");
    Stream { packets, pictures }
}

/// One packet as `ffmpeg` writes it: no extensions, no padding (RFC 3550 §5.1).
fn parse(datagram: &[u8], before: Option<&Packet>) -> Packet {
    assert_eq!(datagram[0], 0x80, "a plain header");
    let sequence = u64::from(u16::from_be_bytes([datagram[2], datagram[3]]));
    if let Some(before) = before {
        assert_eq!(
            sequence,
            (before.sequence + 1) & 0xFFFF,
            "the loopback lost a packet"
        );
    }
    Packet {
        sequence,
        timestamp: u32::from_be_bytes([datagram[4], datagram[5], datagram[6], datagram[7]]),
        marker: datagram[1] & 0x80 != 0,
        payload: datagram[12..].to_vec(),
    }
}

/// Decodes packets: the pictures in the order of display, or what the decoder complains of.
pub async fn decode(packets: &[Packet]) -> Result<Vec<Picture>, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("rtsp://{}/h265", listener.local_addr().expect("it is bound"));
    let child = spawn(&decoder(&["-rtsp_transport", "tcp", "-i", &url]));
    let served = tokio::spawn(serve(listener, packets.to_vec()));
    let samples = end(child, Vec::new()).await;
    served.abort();
    Ok(pictures(&samples?))
}

/// Takes one client of RTSP through the requests of RFC 2326 §10 and sends it all packets.
async fn serve(listener: TcpListener, packets: Vec<Packet>) {
    let (client, _) = listener.accept().await.expect("the decoder");
    let mut client = BufReader::new(client);
    let mut request = String::new();
    while let Ok(1..) = client.read_line(&mut request).await {
        if !request.ends_with("\r\n\r\n") {
            continue;
        }
        let number = request.lines().find(|line| line.starts_with("CSeq:"));
        let number = number.expect("requests are numbered").to_owned();
        let method = request.split(' ').next().unwrap_or_default().to_owned();
        request.clear();
        let (headers, body) = match &*method {
            "DESCRIBE" => (
                "Content-Type: application/sdp\r\n",
                format!(
                    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP {FORMAT}\r\n\
                     a=rtpmap:{FORMAT} H265/90000\r\na=control:pictures\r\n"
                ),
            ),
            "SETUP" => (
                "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n",
                String::new(),
            ),
            _ => ("Session: 1\r\n", String::new()),
        };
        let length = body.len();
        let response =
            format!("RTSP/1.0 200 OK\r\n{number}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        send(&mut client, response.as_bytes()).await;
        if method == "PLAY" {
            for packet in &packets {
                send(&mut client, &interleaved(packet)).await;
            }
            // What the decoder still reports is read, else closing would take back what it has not read.
            let _ = client.shutdown().await;
            let _ = client.read_to_end(&mut Vec::new()).await;
            return;
        }
    }
}

/// A client that has gone says so itself.
async fn send(client: &mut BufReader<TcpStream>, bytes: &[u8]) {
    let _ = client.write_all(bytes).await;
}

fn interleaved(packet: &Packet) -> Vec<u8> {
    let len = u16::try_from(12 + packet.payload.len()).expect("a small packet");
    let mut bytes = vec![b'$', 0];
    bytes.extend(len.to_be_bytes());
    bytes.extend([0x80, FORMAT | u8::from(packet.marker) << 7]);
    bytes.extend((packet.sequence as u16).to_be_bytes());
    bytes.extend(packet.timestamp.to_be_bytes());
    bytes.extend(0x265_u32.to_be_bytes());
    bytes.extend(&packet.payload);
    bytes
}

/// Decodes an input, every picture once.
fn decoder<'a>(input: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["-xerror"];
    arguments.extend(input);
    arguments.extend(["-map", "0:v", "-fps_mode", "passthrough"]);
    arguments.extend(["-f", "rawvideo", "-pix_fmt", "yuv420p", "pipe:1"]);
    arguments
}

fn pictures(samples: &[u8]) -> Vec<Picture> {
    let pictures = samples.chunks(WIDTH * HEIGHT * 3 / 2);
    pictures.map(<[u8]>::to_vec).collect()
}

fn spawn(arguments: &[&str]) -> Child {
    Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ffmpeg, which `cargo xtask install` installs")
}

/// Gives it its input and waits for its output; an error when it complains of anything.
async fn end(mut child: Child, input: Vec<u8>) -> Result<Vec<u8>, String> {
    let ended = tokio::task::spawn_blocking(move || {
        let mut stdin = child.stdin.take().expect("a pipe");
        let writing = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output();
        // Who ends early does not read everything.
        let _ = writing.join().expect("a thread that does not panic");
        output
    });
    let ended = timeout(PATIENCE, ended)
        .await
        .map_err(|_| "ffmpeg does not end")?;
    let Output {
        status,
        stdout,
        stderr,
    } = ended.expect("no panic").expect("its output");
    if status.success() && stderr.is_empty() {
        Ok(stdout)
    } else {
        Err(format!("{status}: {}", String::from_utf8_lossy(&stderr)))
    }
}
