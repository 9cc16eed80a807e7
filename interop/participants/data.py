"""Streams, calls and data tracks of the Python participant, as `data.js` is for the others."""

import asyncio
import hashlib

from livekit import rtc


def content(length: int, seed: int) -> bytes:
    """Bytes that differ from seed to seed and do not compress: a linear congruential generator."""
    word, out = seed, bytearray(length)
    for i in range(length):
        word = (word * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = word >> 24
    return bytes(out)


class Data:
    """The commands; mixed into the participant."""

    async def serve(self) -> None:
        self.ticking: list[tuple[rtc.LocalDataTrack, asyncio.Task]] = []
        self.room.register_text_stream_handler("text", lambda reader, who: self.spawn(self.read(reader, who)))
        self.room.register_byte_stream_handler("bytes", lambda reader, who: self.spawn(self.read_bytes(reader, who)))
        local = self.room.local_participant
        local.register_rpc_method("echo", self.echo)
        local.register_rpc_method("fail", self.fail)
        local.register_rpc_method("silent", self.silent)
        self.room.on("data_track_published", lambda track: self.spawn(self.read_track(track)))

    async def echo(self, data: rtc.RpcInvocationData) -> str:
        return f"{data.caller_identity} said {data.payload}"

    async def fail(self, data: rtc.RpcInvocationData) -> str:
        raise rtc.RpcError(101, "no such dish", "soup")

    async def silent(self, data: rtc.RpcInvocationData) -> str:
        await asyncio.Event().wait()
        return ""

    async def took(self, identity: str, topic: str, text: str) -> None:
        self.data.append({"from": identity, "topic": topic, "text": text})
        await self.notify()

    async def read_bytes(self, reader, identity: str) -> None:
        digest = hashlib.sha256()
        async for chunk in reader:
            digest.update(chunk)
        await self.took(identity, "bytes", digest.hexdigest())

    async def read_track(self, track: rtc.RemoteDataTrack) -> None:
        async for frame in track.subscribe():
            await self.took(track.publisher_identity, "track", bytes(frame.payload).decode())
            return

    async def sendText(self, text: str, to: list[str]):
        await self.room.local_participant.send_text(text, topic="text", destination_identities=to)

    async def sendBytes(self, length: int, seed: int, to: list[str]):
        data = content(length, seed)
        local = self.room.local_participant
        writer = await local.stream_bytes(f"seed {seed}", total_size=length, topic="bytes", destination_identities=to)
        for at in range(0, length, 65536):
            await writer.write(data[at : at + 65536])
        await writer.aclose()
        return hashlib.sha256(data).hexdigest()

    async def rpc(self, to: str, method: str, payload: str = "", timeout: int | None = None):
        seconds = None if timeout is None else timeout / 1000
        try:
            value = await self.room.local_participant.perform_rpc(
                destination_identity=to, method=method, payload=payload, response_timeout=seconds)
        except rtc.RpcError as error:
            return {"code": error.code, "message": error.message, "data": error.data}
        return {"value": value}

    async def publishDataTrack(self, name: str, text: str):
        track = await self.room.local_participant.publish_data_track(name=name)
        self.ticking.append((track, asyncio.create_task(self.tick(track, text.encode()))))

    async def tick(self, track: rtc.LocalDataTrack, payload: bytes) -> None:
        """Frames go to those who subscribed by then: one is sent with every tick of the clock."""
        while True:
            track.try_push(rtc.DataTrackFrame(payload=payload))
            await asyncio.sleep(0.05)

    async def endDataTracks(self):
        for track, task in self.ticking:
            task.cancel()
            await track.unpublish()
        self.ticking.clear()

    async def got(self, topic: str, text: str, **sender):
        def find():
            return next((one for one in self.data
                         if one["from"] == sender["from"] and one["topic"] == topic and one["text"] == text), None)
        return await self.until(find)
