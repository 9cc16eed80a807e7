"""GStreamer's webrtcbin as a WebRTC stack, driven by JSON lines (see lib/stacks.mjs). Its DTLS certificate is what
the library makes by itself: RSA with 2048 bits. The first argument, if there is one, is the codec to receive: `h264`."""

import base64
import json
import re
import sys
import threading
import traceback

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstApp, GstSdp, GstWebRTC  # noqa: E402,F401

Gst.init(None)
DECODERS = {
    "OPUS": "rtpopusdepay ! opusdec",
    "VP8": "rtpvp8depay ! vp8dec",
    "H264": "rtph264depay ! h264parse ! openh264dec",
}
ENCODERS = {
    "vp8": "vp8enc deadline=1 keyframe-max-dist=15 ! rtpvp8pay picture-id-mode=15-bit pt=96 ! "
    "application/x-rtp,media=video,encoding-name=VP8,payload=96,clock-rate=90000",
    "h264": "openh264enc gop-size=15 ! video/x-h264,profile=constrained-baseline ! h264parse ! "
    "rtph264pay config-interval=-1 aggregate-mode=zero-latency pt=97 ! application/x-rtp,media=video,"
    "encoding-name=H264,payload=97,clock-rate=90000,packetization-mode=(string)1",
}
out = threading.Lock()


def say(**message) -> None:
    with out:
        print(json.dumps(message), flush=True)


def description(kind, sdp: str):
    _, message = GstSdp.SDPMessage.new_from_text(sdp)
    return GstWebRTC.WebRTCSessionDescription.new(kind, message)


def preferring(sdp: str, codec: str | None) -> str:
    """webrtcbin takes the first format of a section and no other: an application that wants another one puts it first."""
    if codec is None:
        return sdp
    head, *sections = re.split("^m=", sdp, flags=re.MULTILINE)
    for at, section in enumerate(sections):
        # Of H.264 the packetization that every encoder's pictures fit into.
        numbers = re.findall(f"^a=rtpmap:(\\d+) {codec}/", section, re.MULTILINE)
        wanted = [n for n in numbers if codec != "H264" or re.search(f"^a=fmtp:{n} .*packetization-mode=1", section, re.MULTILINE)]
        line, rest = section.split("\r\n", 1)
        words = line.split(" ")
        formats = wanted[:1] + [word for word in words[3:] if word not in wanted[:1]]
        sections[at] = " ".join(words[:3] + formats) + "\r\n" + rest
    return "m=".join([head, *sections])


class Connection:
    """One webrtcbin in a pipeline of its own."""

    def __init__(self, media: str = "") -> None:
        # A text of one element alone would make no pipeline.
        self.pipeline = Gst.parse_launch(f"webrtcbin name=w bundle-policy=max-bundle {media or 'fakesrc ! fakesink'}")
        self.web = self.pipeline.get_by_name("w")
        # By itself it leaves out the loopback interface, on which the tests' server listens.
        self.agent = self.web.get_property("ice-agent")
        self.agent.emit("add-local-ip-address", "127.0.0.1")
        self.gathered = threading.Event()
        self.open = threading.Event()
        self.channel = None
        # Whoever drops the last reference to a channel closes it.
        self.channels = []
        self.changed = threading.Condition()
        for pad in self.web.sinkpads:
            pad.connect("notify::caps", self.on_caps)
        self.web.connect("notify::ice-gathering-state", self.on_gathering)
        self.web.connect("pad-added", self.on_pad)
        self.web.connect("on-data-channel", lambda _, channel: self.take(channel))
        self.pipeline.set_state(Gst.State.PLAYING)

    def take(self, channel) -> None:
        self.channels.append(channel)
        channel.connect("on-message-data", lambda _, data: say(
            event="data", base64=base64.b64encode(data.get_data()).decode()))

    def on_caps(self, *_) -> None:
        with self.changed:
            self.changed.notify_all()

    def on_gathering(self, *_) -> None:
        if self.web.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            self.gathered.set()

    def ask(self, signal: str, *args) -> None:
        promise = Gst.Promise.new()
        self.web.emit(signal, *args, promise)
        promise.wait()
        reply = promise.get_reply()
        if reply and reply.has_field("error"):
            raise RuntimeError(f"{signal}: {reply.to_string()}")

    def local(self, kind: str) -> dict:
        """Makes our description, and waits until it has all of our candidates."""
        promise = Gst.Promise.new()
        self.web.emit(f"create-{kind}", None, promise)
        promise.wait()
        # The description belongs to the reply: it is gone when that is.
        reply = promise.get_reply()
        self.ask("set-local-description", reply.get_value(kind))
        if not self.gathered.wait(10):
            raise RuntimeError("candidates were not gathered")
        return {"sdp": self.web.get_property("local-description").sdp.as_text()}

    def on_pad(self, _, pad) -> None:
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        caps = pad.get_current_caps() or pad.query_caps(None)
        codec = caps.get_structure(0).get_string("encoding-name")
        mid = pad.get_property("transceiver").get_property("mid")
        sound = codec == "OPUS"
        form = "audioconvert ! audioresample ! audio/x-raw,format=S16LE,channels=1,rate=48000" if sound else \
            "videoconvert ! video/x-raw,format=RGB"
        chain = Gst.parse_bin_from_description(
            f"queue ! {DECODERS[codec]} ! {form} ! appsink name=sink sync=false emit-signals=true", True)
        window = bytearray()

        def on_sample(sink):
            sample = sink.emit("pull-sample")
            buffer = sample.get_buffer()
            data = buffer.extract_dup(0, buffer.get_size())
            if sound:
                window.extend(data)
                if len(window) >= 19200:
                    say(event="sound", mid=mid, base64=base64.b64encode(bytes(window)).decode())
                    window.clear()
            else:
                shape = sample.get_caps().get_structure(0)
                width, height = shape.get_value("width"), shape.get_value("height")
                at = height // 2 * ((width * 3 + 3) & ~3) + width // 2 * 3
                say(event="picture", mid=mid, rgb=list(data[at:at + 3]))
            return Gst.FlowReturn.OK

        chain.get_by_name("sink").connect("new-sample", on_sample)
        self.pipeline.add(chain)
        chain.sync_state_with_parent()
        pad.link(chain.get_static_pad("sink"))


class Stack:
    def __init__(self, prefer: str | None) -> None:
        self.connections = {}
        self.prefer = prefer

    def answer(self, sdp: str) -> dict:
        one = self.connections.get("subscriber")
        if one is None:
            one = self.connections["subscriber"] = Connection()
        one.ask("set-remote-description", description(GstWebRTC.WebRTCSDPType.OFFER, preferring(sdp, self.prefer)))
        return one.local("answer")

    def offer(self, tone: int, colour: list[int], codec: str) -> dict:
        red, green, blue = colour
        argb = 0xFF << 24 | red << 16 | green << 8 | blue
        media = (
            f"audiotestsrc is-live=true freq={tone} volume=0.3 ! audio/x-raw,rate=48000,channels=1 ! opusenc ! "
            "rtpopuspay pt=111 ! application/x-rtp,media=audio,encoding-name=OPUS,payload=111 ! w. "
            f"videotestsrc is-live=true pattern=solid-color foreground-color={argb} ! "
            "video/x-raw,format=I420,width=320,height=180,framerate=15/1 ! "
            f"{ENCODERS[codec]} ! w."
        )
        one = self.connections["publisher"] = Connection(media)
        one.channel = one.web.emit("create-data-channel", "_reliable", None)
        one.channel.connect("on-open", lambda _: one.open.set())
        one.take(one.channel)
        # What the encoders make is known with their first packet: profile, level, SSRC.
        for pad in one.web.sinkpads:
            with one.changed:
                one.changed.wait_for(lambda: pad.get_current_caps(), 20)
        return one.local("offer")

    def accept(self, sdp: str) -> None:
        self.connections["publisher"].ask(
            "set-remote-description", description(GstWebRTC.WebRTCSDPType.ANSWER, sdp))

    def candidate(self, connection: str, candidate: dict) -> None:
        self.connections[connection].web.emit("add-ice-candidate", candidate["sdpMLineIndex"], candidate["candidate"])

    def send(self, base64: str) -> None:
        one = self.connections["publisher"]
        if not one.open.wait(20):
            raise RuntimeError("the channel does not open")
        one.channel.emit("send-data", bytes_of(base64))


def bytes_of(text: str) -> GLib.Bytes:
    return GLib.Bytes.new(base64.b64decode(text))


if "--check" in sys.argv:
    # Whether all is there.
    elements = ["webrtcbin", "nicesrc", "dtlsenc", "srtpenc", "sctpenc", "opusenc", "vp8enc", "openh264enc", "rtpvp8pay", "appsink"]
    sys.exit(not all(Gst.ElementFactory.find(name) for name in elements))

stack = Stack(sys.argv[1].upper() if len(sys.argv) > 1 else None)


def run(message: dict) -> None:
    try:
        say(id=message["id"], value=getattr(stack, message["name"])(**(message.get("args") or {})))
    except Exception:
        say(id=message["id"], error=traceback.format_exc())


for line in sys.stdin:
    threading.Thread(target=run, args=[json.loads(line)], daemon=True).start()
