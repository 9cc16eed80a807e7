// All pairs of stock clients in one room: each recognises every other one's sound, picture and data.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { node, python, startBrowser } from '../lib/clients.mjs';
import { startServer } from '../lib/server.mjs';

const CAST = [
  { name: 'single', tone: 440, colour: [200, 30, 30] },
  { name: 'dual', tone: 870, colour: [30, 160, 30] },
  { name: 'python', tone: 1230, colour: [40, 40, 210] },
  { name: 'node', tone: 1710, colour: [190, 170, 30] },
];
const PAIRS = CAST.flatMap((a) => CAST.filter((b) => a !== b).map((b) => [a, b]));
let server;
let browser;

before(async () => {
  server = await startServer();
  browser = await startBrowser();
  const made = await Promise.all([browser.participant('single'), browser.participant('dual'), python(), node()]);
  CAST.forEach((one, i) => (one.client = made[i]));
  for (const one of CAST) {
    const options = one.name === 'single' ? { singlePeerConnection: true } : one.name === 'dual' ? { singlePeerConnection: false } : {};
    await one.client.join({ url: server.ws, token: await server.token(one.name, 'pairs'), options });
    await one.client.publish({ tone: one.tone, colour: one.colour });
  }
});

after(async () => {
  for (const one of CAST) await one.client?.stop();
  await browser?.stop();
  await server?.stop();
});

test('every client is seen by every other one', async () => {
  await Promise.all(PAIRS.map(([a, b]) => b.client.present({ identity: a.name })));
});

test('every client hears the tone of every other one', async () => {
  await Promise.all(PAIRS.map(([a, b]) => b.client.heard({ from: a.name, tone: a.tone })));
});

test('every client sees the colour of every other one', async () => {
  await Promise.all(PAIRS.map(([a, b]) => b.client.saw({ from: a.name, colour: a.colour })));
});

for (const reliable of [true, false]) {
  test(`${reliable ? 'reliable' : 'lossy'} data reaches everybody, with its sender`, async () => {
    for (const a of CAST) {
      const text = `${reliable ? 'reliable' : 'lossy'} from ${a.name}`;
      await a.client.send({ text, reliable });
      const got = await Promise.all(CAST.filter((b) => b !== a).map((b) => b.client.received({ text })));
      for (const one of got) assert.equal(one.from, a.name);
    }
  });
}

test('data for one destination reaches nobody else', async () => {
  const [single, dual, py, nd] = CAST;
  await single.client.send({ text: 'for python only', reliable: true, to: [py.name] });
  assert.equal((await py.client.received({ text: 'for python only' })).from, single.name);
  // A later message to everybody arrives behind it on the same ordered channel.
  await single.client.send({ text: 'for all', reliable: true });
  for (const other of [dual, nd]) {
    await other.client.received({ text: 'for all' });
    const { data } = await other.client.state();
    assert.ok(!data.some((one) => one.text === 'for python only'), `${other.name} got it too`);
  }
});
