// Sound and picture are played together, though the sound reaches the server late: the player puts them together by
// the publisher's sender reports, so these have to reach it as they are.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { startBrowser } from '../lib/clients.mjs';
import { startRelay } from '../lib/relay.mjs';
import { startServer } from '../lib/server.mjs';

/** How late the sound is, and how far apart sound and picture may be played. */
const LATE_MS = 200;
const OFFSET_MS = 40;
/** Pairs of a flash and a beep that a median is taken of; medians in a row that have to be good. */
const PAIRS = 7;
const STEADY = 5;
/** What the system's wall clock showed when its monotonic clock began, in ms. */
const MONOTONIC = Date.now() - Number(process.hrtime.bigint()) / 1e6;
let server;
let relay;
let browser;
let publisher;
let viewer;

before(async () => {
  // Browsers synchronise what is in one stream. ICE-lite: the server sends no checks of its own, which would find a
  // way around the relay.
  server = await startServer({ rtc: '  use_ice_lite: true', config: 'room:\n  sync_streams: true\n' });
  relay = await startRelay(server.udp);
  browser = await startBrowser();
  publisher = await browser.participant('publisher', { relay: [server.udp, relay.port] });
  // The page in front shows every picture.
  viewer = await browser.participant('viewer');
  for (const [name, client] of [['publisher', publisher], ['viewer', viewer]]) {
    await client.join({ url: server.ws, token: await server.token(name, 'lips') });
  }
});

after(async () => {
  for (const one of [browser, relay, server]) await one?.stop();
});

/** Publishes a picture that is white while a tone sounds; `window.direct` is what comes of it without a server. */
async function flashAndBeep() {
  const surface = Object.assign(document.createElement('canvas'), { width: 320, height: 180 });
  const brush = surface.getContext('2d');
  const context = new AudioContext({ sampleRate: 48000 });
  const oscillator = context.createOscillator();
  oscillator.frequency.value = 1000;
  const volume = context.createGain();
  volume.gain.value = 0;
  const out = new MediaStreamAudioDestinationNode(context, { channelCount: 1 });
  oscillator.connect(volume).connect(out);
  oscillator.start();
  const video = surface.captureStream(0).getVideoTracks()[0];
  const audio = out.stream.getAudioTracks()[0];
  let [count, on, turn] = [0, false, performance.now() + 1000];
  setInterval(() => {
    const now = performance.now();
    if (now >= turn) {
      on = !on;
      volume.gain.setValueAtTime(on ? 0.5 : 0, context.currentTime);
      turn = now + (on ? 200 : 800);
    }
    brush.fillStyle = on ? '#fff' : '#000';
    brush.fillRect(0, 0, 320, 180);
    brush.fillStyle = '#888';
    brush.fillRect((count++ * 7) % 320, 0, 12, 12);
    video.requestFrame();
  }, 50);
  const { Track } = window.LivekitClient;
  const { localParticipant } = window.room;
  await localParticipant.publishTrack(video, { source: Track.Source.Camera, simulcast: false });
  await localParticipant.publishTrack(audio, { source: Track.Source.Microphone, dtx: false });

  const [from, to] = [new RTCPeerConnection(), new RTCPeerConnection()];
  from.onicecandidate = ({ candidate }) => to.addIceCandidate(candidate);
  to.onicecandidate = ({ candidate }) => from.addIceCandidate(candidate);
  const stream = new MediaStream([video, audio]);
  for (const track of stream.getTracks()) from.addTrack(track, stream);
  window.direct = {};
  to.ontrack = ({ track }) => (window.direct[track.kind] = track);
  await from.setLocalDescription();
  await to.setRemoteDescription(from.localDescription);
  await to.setLocalDescription();
  await from.setRemoteDescription(to.localDescription);
}

/**
 * Plays two tracks. `window.offsets` gets by how many ms the beginnings of flashes come after those of beeps. The
 * times are those for which the player scheduled pictures and took samples, not those at which this page learned of
 * them: a busy machine makes them later for the page only.
 */
async function play({ video, audio }, monotonic) {
  window.offsets = [];
  // Pictures have times of the monotonic clock, sound has the page's.
  const began = performance.timeOrigin - monotonic;
  const element = Object.assign(document.createElement('video'), { muted: true, srcObject: new MediaStream([video, audio]) });
  document.body.append(element);
  await element.play();
  const [flashes, beeps] = [[], []];
  const paired = () => {
    const near = (flash) => beeps.find((beep) => Math.abs(beep - flash) < 400);
    const at = flashes.findIndex((flash) => near(flash) !== undefined);
    if (at < 0) return;
    window.offsets.push(flashes[at] - near(flashes[at]));
    flashes.splice(0, at + 1);
  };
  const each = async (track, take) => {
    const reader = new MediaStreamTrackProcessor({ track, maxBufferSize: 100 }).readable.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      await take(value);
      value.close();
      paired();
    }
  };
  let wasLight = true;
  void each(video, async (frame) => {
    const luma = new Uint8Array(frame.allocationSize());
    await frame.copyTo(luma);
    const light = luma[(frame.codedWidth * frame.codedHeight + frame.codedWidth) / 2] > 128;
    if (light && !wasLight) flashes.push(frame.timestamp / 1000);
    wasLight = light;
  });
  let quiet = 0;
  void each(audio, (data) => {
    const samples = new Float32Array(data.numberOfFrames);
    data.copyTo(samples, { planeIndex: 0, format: 'f32-planar' });
    samples.forEach((sample, index) => {
      if (Math.abs(sample) < 0.05) return void quiet++;
      if (quiet > data.sampleRate / 5) beeps.push(began + data.timestamp / 1000 + (index * 1000) / data.sampleRate);
      quiet = 0;
    });
  });
}

/** The median of the last offsets; undefined as long as there are not enough. */
async function median(client) {
  const last = (await client.page.evaluate(() => window.offsets ?? [])).slice(-PAIRS).sort((a, b) => a - b);
  return last.length < PAIRS ? undefined : last[(PAIRS - 1) / 2];
}

test('sound that comes late is played with its picture', async (t) => {
  await publisher.page.evaluate(flashAndBeep);
  const { ssrc } = await publisher.stream({ kind: 'audio' });
  relay.late.set(ssrc, LATE_MS);
  await viewer.holds({ code: `state.subscribed.length === 2` });
  const received = `[...room.remoteParticipants.get('publisher').trackPublications.values()]`;
  await publisher.page.evaluate(`void (${play})(window.direct, ${MONOTONIC})`);
  await viewer.page.evaluate(`void (${play})(Object.fromEntries(${received}.map((one) => [one.kind, one.track.mediaStreamTrack])), ${MONOTONIC})`);
  // The player brings them together in steps. What a direct connection leaves between them is the browser's own.
  const seen = [];
  const steady = () => seen.length >= STEADY && seen.slice(-STEADY).every((offset) => Math.abs(offset) < OFFSET_MS);
  while (seen.length < 50 && !steady()) {
    await viewer.played({ from: 'publisher', seconds: 1 });
    const [direct, offset] = await Promise.all([publisher, viewer].map(median));
    if (direct !== undefined && offset !== undefined) seen.push(Math.round(offset - direct));
  }
  t.diagnostic(`medians of the offset: ${seen.join(', ')} ms`);
  assert.ok(steady(), `the last medians were ${seen.slice(-STEADY).join(', ')} ms`);
  assert.ok(relay.payloadTypes.has(ssrc));
});
