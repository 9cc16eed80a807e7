// Firefox in both peer connection modes, in one call with Chromium: a second stack of ICE, DTLS and RTP.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { startBrowser, startFirefox } from '../lib/clients.mjs';
import { startServer } from '../lib/server.mjs';

const CAST = [
  { name: 'chromium', colour: [200, 30, 30], single: true },
  { name: 'firefox-single', colour: [30, 160, 30], single: true },
  { name: 'firefox-dual', colour: [40, 40, 210], single: false },
];
const PAIRS = CAST.flatMap((a) => CAST.filter((b) => a !== b).map((b) => [a, b]));
const [chrome, ...foxes] = CAST;
let server;
let chromium;
let firefox;

before(async () => {
  server = await startServer();
  [chromium, firefox] = await Promise.all([startBrowser(), startFirefox()]);
  for (const one of CAST) {
    one.client = await (one === chrome ? chromium : firefox).participant(one.name);
    await one.client.join({ url: server.ws, token: await server.token(one.name, 'browsers'), options: { singlePeerConnection: one.single } });
    await one.client.publish({ tone: one === chrome ? 440 : undefined, colour: one.colour });
    // Without a sound card Firefox runs no AudioContext: its tone is the fake microphone's.
    if (one !== chrome) await one.client.publishMicrophone();
  }
  await Promise.all(PAIRS.map(([a, b]) => b.client.present({ identity: a.name })));
});

after(async () => {
  await chromium?.stop();
  await firefox?.stop();
  await server?.stop();
});

test('Firefox and Chromium see each other', async () => {
  await Promise.all(PAIRS.map(([a, b]) => b.client.saw({ from: a.name, colour: a.colour })));
});

test('Chromium hears the tone of Firefox in both modes', async () => {
  await Promise.all(foxes.map((fox) => chrome.client.heard({ from: fox.name, tone: 870 })));
});

test('Firefox plays the sound of the others in both modes', async () => {
  await Promise.all(PAIRS.filter(([, b]) => b !== chrome).map(([a, b]) => b.client.sounds({ from: a.name })));
});

test('Firefox and Chromium exchange data', async () => {
  for (const reliable of [true, false]) {
    for (const a of CAST) {
      const text = `${reliable} from ${a.name}`;
      await a.client.send({ text, reliable });
      for (const b of CAST.filter((one) => one !== a)) {
        assert.equal((await b.client.received({ text })).from, a.name);
      }
    }
  }
});
