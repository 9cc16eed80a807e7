"""aiortc as a WebRTC stack, driven by JSON lines (see lib/stacks.mjs). Arguments, which its present version knows, make its
handshakes unlike a browser's: the key of its certificate, one of KEYS; the only cipher suite, one of SUITES;
`no-extended-master-secret`; the hash of the only fingerprint, like `sha-512`."""

import asyncio
import base64
import datetime
import json
import re
import sys
import traceback

import av
import numpy as np
from aiortc import RTCCertificate, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError, VideoStreamTrack
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

KEYS = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "rsa2048": lambda: rsa.generate_private_key(65537, 2048),
}
SUITES = {
    "chacha20": b"ECDHE-ECDSA-CHACHA20-POLY1305",
    "aes256-gcm": b"ECDHE-ECDSA-AES256-GCM-SHA384",
    "aes256-cbc": b"ECDHE-ECDSA-AES256-SHA",
}
# OpenSSL's SSL_OP_NO_EXTENDED_MASTER_SECRET.
NO_EXTENDED_MASTER_SECRET = 1


def certificate(words: list[str]) -> RTCCertificate:
    key = KEYS[next((word for word in words if word in KEYS), "p256")]()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stack")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=30))
    own = Own(key=key, cert=builder.sign(key, hashes.SHA256()))
    own.words = words
    return own


class Own(RTCCertificate):
    """Its own contexts offer no suite for RSA certificates."""

    def getFingerprints(self):
        found = super().getFingerprints()
        return [one for one in found if one.algorithm in self.words] or found

    def _create_ssl_context(self, srtp_profiles):
        context = super()._create_ssl_context(srtp_profiles)
        only = [SUITES[word] for word in self.words if word in SUITES]
        context.set_cipher_list(*only or [b"ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES"])
        if "no-extended-master-secret" in self.words:
            context.set_options(NO_EXTENDED_MASTER_SECRET)
        return context


class Tone(AudioStreamTrack):
    def __init__(self, hz: int) -> None:
        super().__init__()
        self.hz, self.at = hz, 0

    async def recv(self):
        silence = await super().recv()
        at = self.at + np.arange(silence.samples)
        wave = 9000 * np.sin(2 * np.pi * self.hz * at / silence.sample_rate)
        frame = av.AudioFrame.from_ndarray(wave.astype(np.int16).reshape(1, -1), layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = silence.sample_rate, silence.pts, silence.time_base
        self.at += silence.samples
        return frame


class Picture(VideoStreamTrack):
    def __init__(self, colour) -> None:
        super().__init__()
        self.pixels = np.full((180, 320, 3), colour, np.uint8)
        self.count = 0

    async def recv(self):
        # Its clock runs at 30 pictures a second: half of them are enough.
        for _ in range(2):
            pts, base = await self.next_timestamp()
        # Something moves, so that no encoder drops the picture.
        self.count += 1
        self.pixels[0, :] = self.count * 16 % 256
        frame = av.VideoFrame.from_ndarray(self.pixels, format="rgb24")
        frame.pts, frame.time_base = pts, base
        return frame


def say(**message) -> None:
    print(json.dumps(message), flush=True)


def modern(sdp: str) -> str:
    """aiortc before 1.10 writes data channels in the form of an old draft, which no server of today reads."""
    sdp = re.sub(r"m=application (\d+) DTLS/SCTP (\d+)", r"m=application \1 UDP/DTLS/SCTP webrtc-datachannel", sdp)
    return re.sub(r"a=sctpmap:(\d+) webrtc-datachannel \d+", r"a=sctp-port:\1", sdp)


class Stack:
    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.connections = {}
        self.open = asyncio.Event()
        self.settled = asyncio.Event()
        self.settled.set()
        self.channel = None

    def make(self, name: str) -> RTCPeerConnection:
        connection = self.connections[name] = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        if self.words:
            connection._RTCPeerConnection__certificates = [certificate(self.words)]
        return connection

    async def answer(self, sdp: str) -> dict:
        connection = self.connections.get("subscriber")
        if connection is None:
            connection = self.make("subscriber")
            connection.on("datachannel", self.take)
            connection.on("connectionstatechange", self.settle)
            connection.on("track", lambda track: asyncio.ensure_future(self.read(track)))
        # It never starts a section that is negotiated while its handshake runs; on a busy machine that lasts
        # longer than any server waits with its next offer.
        await self.settled.wait()
        await connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        if connection.connectionState in ("new", "connecting"):
            self.settled.clear()
        return {"sdp": modern(connection.localDescription.sdp)}

    def settle(self) -> None:
        if self.connections["subscriber"].connectionState not in ("new", "connecting"):
            self.settled.set()

    async def offer(self, tone: int, colour: list[int], codec: str) -> dict:
        connection = self.make("publisher")
        self.channel = connection.createDataChannel("_reliable")
        self.channel.on("open", self.open.set)
        self.take(self.channel)
        connection.addTrack(Tone(tone))
        connection.addTrack(Picture(colour))
        await connection.setLocalDescription(await connection.createOffer())
        return {"sdp": modern(connection.localDescription.sdp)}

    async def accept(self, sdp: str) -> None:
        await self.connections["publisher"].setRemoteDescription(RTCSessionDescription(sdp, "answer"))

    async def candidate(self, connection: str, candidate: dict) -> None:
        """The descriptions have them as well."""

    async def send(self, base64: str) -> None:
        await self.open.wait()
        self.channel.send(bytes_of(base64))

    def take(self, channel) -> None:
        channel.on("message", lambda data: say(event="data", base64=base64.b64encode(data).decode()))

    def mid(self, track) -> str:
        transceivers = self.connections["subscriber"].getTransceivers()
        return next(one.mid for one in transceivers if one.receiver.track is track)

    async def read(self, track) -> None:
        window = bytearray()
        resampler = av.AudioResampler(format="s16", layout="mono", rate=48000)
        try:
            while True:
                frame = await track.recv()
                if track.kind == "audio":
                    for part in resampler.resample(frame):
                        window += part.to_ndarray().tobytes()
                    if len(window) >= 19200:
                        say(event="sound", mid=self.mid(track), base64=base64.b64encode(window).decode())
                        window.clear()
                else:
                    pixels = frame.to_ndarray(format="rgb24")
                    middle = pixels[frame.height // 2, frame.width // 2]
                    say(event="picture", mid=self.mid(track), rgb=[int(value) for value in middle])
        except MediaStreamError:
            pass


def bytes_of(text: str) -> bytes:
    return base64.b64decode(text)


async def main() -> None:
    stack = Stack(sys.argv[1:])
    reader = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tasks = set()

    async def run(message: dict) -> None:
        try:
            say(id=message["id"], value=await getattr(stack, message["name"])(**(message.get("args") or {})))
        except Exception:
            say(id=message["id"], error=traceback.format_exc())

    while line := await reader.readline():
        task = asyncio.ensure_future(run(json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


asyncio.run(main())
