// WebRTC stacks that no LiveKit SDK is made of, in calls with stock clients: each comes late to a call of Chromium, and
// another stock client comes late to it. Sound, pictures and data go both ways.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { python, startBrowser } from '../lib/clients.mjs';
import { startServer } from '../lib/server.mjs';
import { stack } from '../lib/stacks.mjs';

const ADA = { tone: 440, colour: [200, 30, 30] };
const ODD = { tone: 620, colour: [30, 160, 30] };
const BEN = { tone: 1230, colour: [40, 40, 210] };
let server;
let browser;

before(async () => {
  server = await startServer();
  browser = await startBrowser();
});

after(async () => {
  await browser?.stop();
  await server?.stop();
});

/** `to` hears, sees and is written to by `from`. */
async function reaches(from, to, name, { tone, colour }) {
  const text = `from ${from.kind} to ${to.kind}`;
  const data = async () => {
    await from.send({ text, reliable: true });
    await to.received({ text });
  };
  await Promise.all([to.heard({ from: name, tone }), to.saw({ from: name, colour }), data()]);
}

async function call(t, odd, codec = 'vp8', startBen = python) {
  const room = `${odd.kind}-${codec}`;
  const video = { videoCodec: codec, simulcast: false, backupCodec: false };
  const [ada, ben] = [await browser.participant('chromium'), await startBen()];
  t.after(() => Promise.all([ada, odd, ben].map((one) => one.stop())));
  const join = async (one, name) => one.join({ url: server.ws, token: await server.token(name, room) });
  await join(ada, 'ada');
  await ada.publish({ ...ADA, video });
  await join(odd, 'odd');
  await odd.publish({ ...ODD, codec });
  await Promise.all([reaches(ada, odd, 'ada', ADA), reaches(odd, ada, 'odd', ODD)]);
  await join(ben, 'ben');
  await ben.publish(startBen === python ? BEN : { ...BEN, video });
  await Promise.all([reaches(ben, odd, 'ben', BEN), reaches(odd, ben, 'odd', ODD)]);
  // The first ones still see each other.
  await odd.decoded({ from: 'ada', more: 10 });
  const { tracks } = await server.api.getParticipant(room, 'odd');
  assert.deepEqual(tracks.map((track) => track.mimeType.toLowerCase()).sort(), ['audio/opus', `video/${codec}`]);
}

test('stacks: GStreamer with its RSA certificate', (t) => call(t, stack('gstreamer')));
test('stacks: GStreamer with H.264', (t) => call(t, stack('gstreamer', 'h264'), 'h264', () => browser.participant('ben')));
test('stacks: aiortc', (t) => call(t, stack('aiortc')));
test('stacks: aiortc 1.9', (t) => call(t, stack('aiortc-1.9')));
test('stacks: libdatachannel', (t) => call(t, stack('libdatachannel')));

const HANDSHAKES = [
  ['no-extended-master-secret', 'sha-512'], ['chacha20'], ['aes256-cbc', 'p384'], ['aes256-gcm', 'p521', 'sha-384'], ['rsa2048'],
];

test("stacks: handshakes unlike a browser's", async (t) => {
  const ben = python();
  t.after(() => ben.stop());
  await ben.join({ url: server.ws, token: await server.token('ben', 'handshakes') });
  await ben.publish(BEN);
  for (const words of HANDSHAKES) {
    const [name, odd] = [words.join(' '), stack('aiortc', ...words)];
    t.after(() => odd.stop());
    await odd.join({ url: server.ws, token: await server.token(name, 'handshakes') });
    await odd.publish(ODD);
    await Promise.all([odd.heard({ from: 'ben', tone: BEN.tone }), ben.heard({ from: name, tone: ODD.tone })]);
    await odd.stop();
  }
});

// It takes a Go toolchain and two minutes to build: `cargo xtask interop stacks`.
if (process.env.THOROUGH) test('stacks: Pion', (t) => call(t, stack('pion')));
