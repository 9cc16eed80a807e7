"""The helpers that the Python SDK's tests import and that its source package leaves out.

The tests are fetched with the package and run as they are; this module owns nothing but what they
call: tokens, rooms, and waiting for what a room reports. Every wait ends with a reason.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from typing import Any, Callable

import pytest
from livekit import api, rtc

EVENT_SECONDS = 15.0
NEEDED = ("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET")


def skip_if_no_credentials() -> pytest.MarkDecorator:
    missing = [name for name in NEEDED if not os.environ.get(name)]
    return pytest.mark.skipif(bool(missing), reason=f"no {', '.join(missing)}")


def unique_room_name(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


def create_token(identity: str, room_name: str) -> str:
    grants = api.VideoGrants(room_join=True, room=room_name)
    token = api.AccessToken(os.environ["LIVEKIT_API_KEY"], os.environ["LIVEKIT_API_SECRET"])
    return token.with_identity(identity).with_name(identity).with_grants(grants).to_jwt()


async def connect_room(identity: str, room_name: str, *, room: rtc.Room | None = None) -> rtc.Room:
    room = room or rtc.Room()
    await room.connect(os.environ["LIVEKIT_URL"], create_token(identity, room_name))
    return room


async def wait_until(
    predicate: Callable[[], Any], *, message: str = "", timeout: float = EVENT_SECONDS, interval: float = 0.05
) -> None:
    """The SDK reports these states by no event, so they are looked at."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    while not predicate():
        assert loop.time() < end, message or "the condition did not become true"
        await asyncio.sleep(interval)


assert_eventually = wait_until


async def ensure_rooms_all_connected(rooms: list[rtc.Room]) -> None:
    for room in rooms:
        await wait_until(
            lambda room=room: room.connection_state == rtc.ConnectionState.CONN_CONNECTED,
            message="a room did not connect",
        )


async def ensure_participants_visible(room: rtc.Room, identities: list[str]) -> None:
    await wait_until(
        lambda: set(identities) <= set(room.remote_participants),
        message=f"not all of {identities} are visible, only {list(room.remote_participants)}",
    )


async def ensure_track_subscribed(room: rtc.Room, sid: str) -> rtc.RemoteTrackPublication:
    def found() -> rtc.RemoteTrackPublication | None:
        for participant in room.remote_participants.values():
            publication = participant.track_publications.get(sid)
            if publication is not None and publication.subscribed and publication.track is not None:
                return publication
        return None

    await wait_until(found, message=f"track {sid} was not subscribed to")
    publication = found()
    assert publication is not None
    return publication


def expect_room_event(
    room: rtc.Room, event: str, *, predicate: Callable[..., bool] | None = None
) -> asyncio.Future[tuple[Any, ...]]:
    """Listens from now on; the future holds the arguments of the first event that fits."""
    future: asyncio.Future[tuple[Any, ...]] = asyncio.get_running_loop().create_future()

    def seen(*args: Any) -> None:
        if future.done() or (predicate is not None and not predicate(*args)):
            return
        future.set_result(args)
        room.off(event, seen)

    room.on(event, seen)
    return future


async def await_event(future: asyncio.Future[tuple[Any, ...]], timeout: float = EVENT_SECONDS) -> tuple[Any, ...]:
    return await asyncio.wait_for(future, timeout)


async def publish_dummy_video(source: rtc.VideoSource, stop: asyncio.Event, *, fps: int = 15) -> None:
    """Grey pictures of changing brightness until told to stop."""
    width, height = 320, 180
    shade = 0
    while not stop.is_set():
        shade = (shade + 8) % 256
        pixels = bytes([shade, shade, shade, 255]) * (width * height)
        source.capture_frame(rtc.VideoFrame(width, height, rtc.VideoBufferType.RGBA, pixels))
        try:
            await asyncio.wait_for(stop.wait(), 1 / fps)
        except asyncio.TimeoutError:
            continue
