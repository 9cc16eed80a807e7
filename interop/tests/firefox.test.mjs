// Firefox in both peer connection modes, in one call with Chromium: a second stack of ICE, DTLS and RTP.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { startBrowser, startFirefox } from '../lib/clients.mjs';
import { startRelay } from '../lib/relay.mjs';
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

/** Firefox in both modes and Chromium in a call of their own, Chromium behind a relay that sees what its packets are. */
async function redundancy(t, config) {
  // ICE-lite: the server sends no checks of its own, which would find a way around the relay.
  const lite = await startServer({ rtc: '  use_ice_lite: true', config });
  const relay = await startRelay(lite.udp);
  const one = await chromium.participant('chromium', { relay: [lite.udp, relay.port] });
  const two = await Promise.all(foxes.map(({ name }) => firefox.participant(name)));
  t.after(async () => {
    for (const each of [one, ...two, relay, lite]) await each.stop();
  });
  await one.join({ url: lite.ws, token: await lite.token('chromium', 'redundancy') });
  for (const [index, fox] of two.entries()) {
    const { name, single } = foxes[index];
    await fox.join({ url: lite.ws, token: await lite.token(name, 'redundancy'), options: { singlePeerConnection: single } });
  }
  /** As what the packets of Chromium's stream went by: its own one, or one that it receives. */
  const wire = async (from) => {
    const { ssrc, formats } = await one.stream({ from, kind: 'audio' });
    return [...relay.payloadTypes.get(ssrc)].map((payloadType) => formats[payloadType]);
  };
  return { one, two, wire, api: lite.api };
}

test('Firefox hears the tone of a publisher that sends RED', async (t) => {
  const { one, two, wire } = await redundancy(t, '');
  // Its tone has two channels, which the SDK sends without redundancy unless asked for it.
  await one.publish({ tone: 440, audio: { red: true } });
  await Promise.all(two.map(async (fox) => {
    await fox.present({ identity: 'chromium' });
    await fox.records({ from: 'chromium', tone: 440 });
    assert.equal((await fox.inbound({ from: 'chromium', kind: 'audio' })).mime, 'audio/opus');
  }));
  assert.deepEqual(await wire(), ['audio/red']);
});

test('Chromium hears the tone of Firefox as RED where the server is told to make it', async (t) => {
  const { one, two, wire, api } = await redundancy(t, 'audio:\n  active_red_encoding: true\n');
  for (const [index, fox] of two.entries()) {
    const { name } = foxes[index];
    await fox.publishMicrophone();
    await one.heard({ from: name, tone: 870 });
    assert.deepEqual(await wire(name), ['audio/red']);
    // Firefox itself sends no RED: it was made on the way.
    const { tracks } = await api.getParticipant('redundancy', name);
    assert.equal(tracks[0].mimeType.toLowerCase(), 'audio/opus');
  }
});
