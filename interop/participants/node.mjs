// A participant on @livekit/rtc-node, driven by JSON lines on standard input (see lib/clients.mjs).
import { createInterface } from 'node:readline';
import {
  AudioFrame, AudioSource, AudioStream, LocalAudioTrack, LocalVideoTrack, Room, RoomEvent, RpcError, TrackKind,
  TrackPublishOptions, TrackSource, VideoBufferType, VideoFrame, VideoSource, VideoStream, dispose,
} from '@livekit/rtc-node';
import { dominant } from '../lib/tone.mjs';
import { dataCommands } from './data.js';

const room = new Room();
const state = { tones: {}, colours: {}, sizes: {}, data: [], left: [], events: [] };
const waiters = new Set();
let publishing = true;

function changed() {
  for (const waiter of waiters) waiter();
}

/** Resolves as soon as `test` gives something; it is asked again whenever something was observed. */
function until(test) {
  return new Promise((resolve) => {
    const waiter = () => {
      const value = test();
      if (value === undefined || value === false) return;
      waiters.delete(waiter);
      resolve(value);
    };
    waiters.add(waiter);
    waiter();
  });
}

room.on(RoomEvent.TrackSubscribed, async (track, _publication, from) => {
  if (track.kind === TrackKind.KIND_AUDIO) {
    let window = [];
    for await (const frame of new AudioStream(track, 48000, 1)) {
      window.push(...frame.data);
      if (window.length < 9600) continue;
      state.tones[from.identity] = dominant(window, 48000);
      window = [];
      changed();
    }
  } else {
    for await (const { frame } of new VideoStream(track)) {
      const rgba = frame.convert(VideoBufferType.RGBA);
      const at = 4 * (Math.floor(rgba.height / 2) * rgba.width + Math.floor(rgba.width / 2));
      state.colours[from.identity] = [...rgba.data.slice(at, at + 3)];
      state.sizes[from.identity] = [rgba.width, rgba.height];
      changed();
    }
  }
});
room.on(RoomEvent.DataReceived, (payload, from, _kind, topic) => {
  state.data.push({ from: from?.identity ?? '', topic: topic ?? '', text: Buffer.from(payload).toString() });
  changed();
});
room.on(RoomEvent.ParticipantDisconnected, (who) => {
  state.left.push(who.identity);
  changed();
});
room.on(RoomEvent.Disconnected, (reason) => {
  state.events.push(`disconnected:${reason}`);
  changed();
});

async function publish({ tone, colour, width = 320, height = 180, fps = 15 }) {
  const audio = new AudioSource(48000, 1);
  const audioTrack = LocalAudioTrack.createAudioTrack('tone', audio);
  await room.localParticipant.publishTrack(audioTrack, new TrackPublishOptions({ source: TrackSource.SOURCE_MICROPHONE }));
  const video = new VideoSource(width, height);
  const videoTrack = LocalVideoTrack.createVideoTrack('picture', video);
  await room.localParticipant.publishTrack(videoTrack, new TrackPublishOptions({ source: TrackSource.SOURCE_CAMERA, simulcast: false }));
  void (async () => {
    for (let at = 0; publishing; at += 480) {
      const samples = new Int16Array(480);
      for (let i = 0; i < 480; i++) samples[i] = Math.round(9000 * Math.sin((2 * Math.PI * tone * (at + i)) / 48000));
      await audio.captureFrame(new AudioFrame(samples, 48000, 1, 480));
    }
  })();
  let count = 0;
  const timer = setInterval(() => {
    if (!publishing) return clearInterval(timer);
    const pixels = new Uint8Array(width * height * 4);
    for (let i = 0; i < pixels.length; i += 4) pixels.set([...colour, 255], i);
    const block = (count++ % 20) * 64;
    pixels.fill(255, block, block + 64);
    video.captureFrame(new VideoFrame(pixels, width, height, VideoBufferType.RGBA));
  }, 1000 / fps);
}

const near = (a, b) => a && a.every((value, i) => Math.abs(value - b[i]) < 48);
const commands = {
  ...dataCommands({ room: () => room, methods: () => room.localParticipant, state, changed, until, RpcError }),
  join: async ({ url, token, options }) => {
    await room.connect(url, token, { autoSubscribe: true, dynacast: false, ...options });
    return { sid: room.localParticipant.sid };
  },
  publish,
  heard: ({ from, tone }) => until(() => state.tones[from] === tone || undefined),
  saw: ({ from, colour }) => until(() => near(state.colours[from], colour) || undefined),
  send: async ({ text, reliable, to, topic }) => {
    await room.localParticipant.publishData(Buffer.from(text), { reliable, destination_identities: to ?? [], topic });
  },
  received: ({ text }) => until(() => state.data.find((one) => one.text === text)),
  participants: () => [...room.remoteParticipants.keys()],
  present: ({ identity }) => until(() => room.remoteParticipants.has(identity) || undefined),
  gone: ({ identity }) => until(() => state.left.includes(identity) || undefined),
  state: () => state,
  leave: async () => {
    publishing = false;
    await room.disconnect();
  },
};
room.on(RoomEvent.ParticipantConnected, changed);

for await (const line of createInterface({ input: process.stdin })) {
  const { id, name, args } = JSON.parse(line);
  Promise.resolve()
    .then(() => commands[name](args ?? {}))
    .then(
      (value) => process.stdout.write(`${JSON.stringify({ id, value: value ?? null })}\n`),
      (error) => process.stdout.write(`${JSON.stringify({ id, error: String(error?.stack ?? error) })}\n`),
    );
}
publishing = false;
await dispose();
process.exit(0);
