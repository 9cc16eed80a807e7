"""A participant on the Python SDK, driven by JSON lines on standard input (see lib/clients.mjs)."""

import asyncio
import json
import math
import sys
import traceback

import numpy as np
from google.protobuf import json_format
from livekit import api, rtc

from data import Data

TONES = [440, 620, 870, 1230, 1710, 2390]
RATE = 48000
EVENTS = [
    "participant_connected", "participant_active", "track_published", "track_unpublished", "track_unsubscribed",
    "track_muted", "track_unmuted", "active_speakers_changed", "room_metadata_changed", "room_updated",
    "participant_metadata_changed", "participant_name_changed", "participant_attributes_changed",
    "participant_permissions_changed", "connection_state_changed",
]


def dominant(samples: np.ndarray) -> int:
    """The tone that makes up most of the sound, or 0 when none has at least half of the power."""
    total = float(np.sum(samples.astype(np.float64) ** 2))
    if total == 0.0:
        return 0
    at = np.arange(len(samples)) / RATE
    best, most = 0, 0.5
    for hz in TONES:
        part = abs(np.sum(samples * np.exp(-2j * math.pi * hz * at))) ** 2 * 2 / (len(samples) * total)
        if part > most:
            best, most = hz, part
    return best


class Participant(Data):
    def __init__(self) -> None:
        self.room = rtc.Room()
        self.tones: dict[str, int] = {}
        self.colours: dict[str, list[int]] = {}
        self.sizes: dict[str, list[int]] = {}
        self.data: list[dict] = []
        self.left: list[str] = []
        self.reasons: dict[str, str] = {}
        self.speaking: list[str] = []
        self.disconnected = ""
        self.source: rtc.AudioSource | None = None
        self.sounding = True
        self.changed = asyncio.Condition()
        self.tasks: set[asyncio.Task] = set()
        self.room.on("track_subscribed", self.on_track)
        self.room.on("data_received", self.on_data)
        self.room.on("participant_disconnected", self.on_left)
        self.room.on("disconnected", self.on_disconnected)
        self.room.on("active_speakers_changed", self.on_speakers)
        for event in EVENTS:
            self.room.on(event, lambda *_: self.spawn(self.notify()))
        self.room.register_text_stream_handler("chat", lambda reader, who: self.spawn(self.read(reader, who)))

    def spawn(self, coroutine) -> None:
        task = asyncio.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, test):
        async with self.changed:
            while not (value := test()):
                await self.changed.wait()
            return value

    def on_track(self, track, publication, participant) -> None:
        watch = self.listen if track.kind == rtc.TrackKind.KIND_AUDIO else self.watch
        self.spawn(watch(track, participant.identity))

    async def listen(self, track, identity: str) -> None:
        window = np.empty(0, dtype=np.int16)
        async for event in rtc.AudioStream(track, sample_rate=RATE, num_channels=1):
            window = np.concatenate([window, np.frombuffer(event.frame.data, dtype=np.int16)])
            if len(window) >= 9600:
                self.tones[identity] = dominant(window)
                window = window[:0]
                await self.notify()

    async def watch(self, track, identity: str) -> None:
        async for event in rtc.VideoStream(track, format=rtc.VideoBufferType.RGBA):
            frame = event.frame
            at = 4 * (frame.height // 2 * frame.width + frame.width // 2)
            self.colours[identity] = list(bytes(frame.data[at : at + 3]))
            self.sizes[identity] = [frame.width, frame.height]
            await self.notify()

    def on_data(self, packet) -> None:
        sender = packet.participant.identity if packet.participant else ""
        self.data.append({"from": sender, "topic": packet.topic or "", "text": bytes(packet.data).decode()})
        self.spawn(self.notify())

    async def read(self, reader, identity: str) -> None:
        text = await reader.read_all()
        self.data.append({"from": identity, "topic": reader.info.topic, "text": text})
        await self.notify()

    def on_left(self, participant) -> None:
        self.left.append(participant.identity)
        reason = participant.disconnect_reason
        self.reasons[participant.identity] = rtc.DisconnectReason.Name(reason) if reason is not None else ""
        self.spawn(self.notify())

    def on_disconnected(self, reason) -> None:
        self.disconnected = rtc.DisconnectReason.Name(reason)
        self.spawn(self.notify())

    def on_speakers(self, speakers) -> None:
        self.speaking = [one.identity for one in speakers]

    async def join(self, url: str, token: str, options: dict | None = None, e2ee: str | None = None):
        if e2ee:
            keys = rtc.KeyProviderOptions(shared_key=e2ee.encode())
            options = {**(options or {}), "encryption": rtc.E2EEOptions(key_provider_options=keys)}
        await self.room.connect(url, token, rtc.RoomOptions(**{"auto_subscribe": True, **(options or {})}))
        return {"sid": self.room.local_participant.sid}

    async def publish(self, tone: int, colour: list[int], width: int = 320, height: int = 180, fps: int = 15):
        audio = rtc.AudioSource(RATE, 1)
        track = rtc.LocalAudioTrack.create_audio_track("tone", audio)
        await self.room.local_participant.publish_track(
            track, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE))
        video = rtc.VideoSource(width, height)
        track = rtc.LocalVideoTrack.create_video_track("picture", video)
        await self.room.local_participant.publish_track(
            track, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA, simulcast=False))
        self.spawn(self.play(audio, tone))
        self.spawn(self.show(video, colour, width, height, fps))

    async def play(self, source, tone: int) -> None:
        at = 0
        while True:
            wave = 9000 * np.sin(2 * math.pi * tone * (at + np.arange(480)) / RATE)
            await source.capture_frame(rtc.AudioFrame(wave.astype(np.int16).tobytes(), RATE, 1, 480))
            at += 480

    async def show(self, source, colour, width: int, height: int, fps: int) -> None:
        count = 0
        pixels = np.empty((height, width, 4), dtype=np.uint8)
        while True:
            pixels[:] = [*colour, 255]
            pixels[0, (count % 20) * 8 : (count % 20) * 8 + 8] = 255
            source.capture_frame(rtc.VideoFrame(width, height, rtc.VideoBufferType.RGBA, pixels.tobytes()))
            count += 1
            await asyncio.sleep(1 / fps)

    async def heard(self, tone: int, **other):
        return await self.until(lambda: self.tones.get(other["from"]) == tone)

    async def saw(self, colour: list[int], **other):
        def near() -> bool:
            seen = self.colours.get(other["from"])
            return seen is not None and all(abs(a - b) < 48 for a, b in zip(seen, colour))

        return await self.until(near)

    async def send(self, text: str, reliable: bool, to: list[str] | None = None, topic: str = ""):
        await self.room.local_participant.publish_data(
            text, reliable=reliable, destination_identities=to or [], topic=topic)

    async def received(self, text: str):
        return await self.until(lambda: next((one for one in self.data if one["text"] == text), None))

    async def present(self, identity: str):
        return await self.until(lambda: identity in self.room.remote_participants)

    async def gone(self, identity: str):
        return await self.until(lambda: identity in self.left)

    async def participants(self):
        return list(self.room.remote_participants)

    async def get(self, code: str):
        """The value of an expression over the participant (`self`) and `rtc`."""
        return eval(code, {"self": self, "room": self.room, "rtc": rtc})

    async def holds(self, code: str):
        """Waits until an expression is true; it is asked again at each event of the room."""
        return await self.until(lambda: eval(code, {"self": self, "room": self.room, "rtc": rtc}) and True)

    async def text(self, text: str, topic: str = "chat"):
        await self.room.local_participant.send_text(text, topic=topic)

    async def call(self, url: str, key: str, secret: str, method: str, request: dict):
        """A method of the server API through `livekit-api`; the answer as JSON, or the code of its error."""
        async with api.LiveKitAPI(url, key, secret) as server:
            make = getattr(server.room, method)
            words = "".join(word.capitalize() for word in method.split("_"))
            kind = {
                "GetParticipant": "RoomParticipantIdentity", "RemoveParticipant": "RoomParticipantIdentity",
                "MutePublishedTrack": "MuteRoomTrackRequest",
            }.get(words, f"{words}Request")
            try:
                answer = await make(json_format.ParseDict(request, getattr(api, kind)()))
            except api.TwirpError as error:
                return {"error": error.code, "message": error.message}
            return json_format.MessageToDict(answer, preserving_proto_field_name=True) if answer else {}

    async def state(self):
        return {
            "reasons": self.reasons, "speaking": self.speaking, "disconnected": self.disconnected,
            **{who: [[t.sid, t.kind, t.muted, t.subscribed, t.mime_type] for t in one.track_publications.values()]
               for who, one in self.room.remote_participants.items()},
            "tones": self.tones, "colours": self.colours, "sizes": self.sizes, "data": self.data, "left": self.left}

    async def leave(self):
        await self.room.disconnect()


async def main() -> None:
    participant = Participant()
    reader = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def run(message: dict) -> None:
        try:
            value = await getattr(participant, message["name"])(**(message.get("args") or {}))
            answer = {"id": message["id"], "value": value}
        except Exception:
            answer = {"id": message["id"], "error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)

    while line := await reader.readline():
        participant.spawn(run(json.loads(line)))


asyncio.run(main())
