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
let relay;
let chromium;
let firefox;

/** A participant in Chromium behind a relay, which sees of what payload types its packets are. */
const relayed = (to, through, name) => chromium.participant(name, { relay: [to.udp, through.port] });

/** As what codecs the packets of a Chromium participant's stream went by at its relay. */
async function wire(through, client, { from, kind }) {
  const { ssrc, formats } = await client.stream({ from, kind });
  return [...through.payloadTypes.get(ssrc)].map((payloadType) => formats[payloadType]);
}

before(async () => {
  server = await startServer();
  relay = await startRelay(server.udp);
  [chromium, firefox] = await Promise.all([startBrowser(), startFirefox()]);
  for (const one of CAST) {
    one.client = await (one === chrome ? relayed(server, relay, one.name) : firefox.participant(one.name));
    await one.client.join({ url: server.ws, token: await server.token(one.name, 'browsers'), options: { singlePeerConnection: one.single } });
    // Its tone has two channels, which the SDK sends without redundancy unless asked for it.
    await one.client.publish({ tone: one === chrome ? 440 : undefined, colour: one.colour, audio: { red: true } });
    // Without a sound card Firefox runs no AudioContext: its tone is the fake microphone's.
    if (one !== chrome) await one.client.publishMicrophone();
  }
  await Promise.all(PAIRS.map(([a, b]) => b.client.present({ identity: a.name })));
});

after(async () => {
  await chromium?.stop();
  await firefox?.stop();
  await relay?.stop();
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

test('Firefox hears the tone of a publisher that sends RED', async () => {
  await Promise.all(foxes.map((fox) => fox.client.records({ from: chrome.name, tone: 440 })));
  for (const fox of foxes) assert.equal((await fox.client.inbound({ from: chrome.name, kind: 'audio' })).mime, 'audio/opus');
  assert.deepEqual(await wire(relay, chrome.client, { kind: 'audio' }), ['audio/red']);
});

test('Chromium hears the tone of Firefox as RED where the server is told to make it', async (t) => {
  const active = await startServer({ config: 'audio:\n  active_red_encoding: true\n' });
  t.after(() => active.stop());
  const through = await startRelay(active.udp);
  t.after(() => through.stop());
  const [fox, listener] = [await firefox.participant('fox'), await relayed(active, through, 'listener')];
  t.after(() => Promise.all([fox.stop(), listener.stop()]));
  for (const [client, name] of [[fox, 'fox'], [listener, 'listener']]) {
    await client.join({ url: active.ws, token: await active.token(name, 'made') });
  }
  await fox.publishMicrophone();
  await listener.heard({ from: 'fox', tone: 870 });
  assert.deepEqual(await wire(through, listener, { from: 'fox', kind: 'audio' }), ['audio/red']);
  // Firefox itself sends no RED: it was made on the way.
  const { tracks } = await active.api.getParticipant('made', 'fox');
  assert.equal(tracks[0].mimeType.toLowerCase(), 'audio/opus');
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
