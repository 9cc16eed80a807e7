// Streams, calls and data tracks between all ordered pairs of stock clients.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { node, python, startBrowser } from '../lib/clients.mjs';
import { startServer } from '../lib/server.mjs';

const CAST = ['single', 'dual', 'python', 'node'].map((name) => ({ name }));
const PAIRS = CAST.flatMap((a) => CAST.filter((b) => a !== b).map((b) => [a, b]));
/** What `@livekit/rtc-node` has no API for. */
const TRACKED = CAST.filter(({ name }) => name !== 'node');
const MEGABYTE = 1_000_000;
let server;
let browser;

before(async () => {
  server = await startServer();
  browser = await startBrowser();
  const made = await Promise.all([browser.participant('single'), browser.participant('dual'), python(), node()]);
  CAST.forEach((one, i) => (one.client = made[i]));
  for (const one of CAST) {
    const options = ['single', 'dual'].includes(one.name) ? { singlePeerConnection: one.name === 'single' } : {};
    await one.client.join({ url: server.ws, token: await server.token(one.name, 'data'), options });
    await one.client.serve();
  }
  await Promise.all(PAIRS.map(([a, b]) => b.client.present({ identity: a.name })));
});

after(async () => {
  for (const one of CAST) await one.client?.stop();
  await browser?.stop();
  await server?.stop();
});

test('text streams pass between all pairs', async () => {
  await Promise.all(PAIRS.map(async ([a, b]) => {
    // Longer than one chunk, and not of one byte a character.
    const text = `von ${a.name} für ${b.name}: ${'äöü '.repeat(10_000)}`;
    await a.client.sendText({ text, to: [b.name] });
    await b.client.got({ from: a.name, topic: 'text', text });
  }));
});

for (const a of CAST) {
  test(`a 5 MB byte stream of ${a.name} arrives intact at all others`, async () => {
    const others = CAST.filter((b) => b !== a);
    const hash = await a.client.sendBytes({ length: 5 * MEGABYTE, seed: CAST.indexOf(a) + 1, to: others.map(({ name }) => name) });
    await Promise.all(others.map((b) => b.client.got({ from: a.name, topic: 'bytes', text: hash })));
  });
}

test('calls between all pairs are answered', async () => {
  await Promise.all(PAIRS.map(async ([a, b]) => {
    const payload = `hello ${b.name}`;
    assert.deepEqual(await a.client.rpc({ to: b.name, method: 'echo', payload }), { value: `${a.name} said ${payload}` });
  }));
});

test('errors of a called method reach the caller as they are', async () => {
  await Promise.all(PAIRS.map(async ([a, b]) => {
    const { code, message, data } = await a.client.rpc({ to: b.name, method: 'fail' });
    assert.deepEqual({ code, message, data }, { code: 101, message: 'no such dish', data: 'soup' }, `${a.name} calls ${b.name}`);
  }));
});

test('a method that nobody registered is unsupported', async () => {
  await Promise.all(PAIRS.map(async ([a, b]) => {
    assert.equal((await a.client.rpc({ to: b.name, method: 'unknown' })).code, 1400, `${a.name} calls ${b.name}`);
  }));
});

test('a method that does not answer and a recipient that is not there time out', async () => {
  // A call waits 7 s for a sign that it arrived, so all of them wait together.
  await Promise.all([
    ...PAIRS.map(async ([a, b]) => {
      assert.equal((await a.client.rpc({ to: b.name, method: 'silent', timeout: 8000 })).code, 1502, `${a.name} calls ${b.name}`);
    }),
    ...CAST.map(async (a) => {
      const { code } = await a.client.rpc({ to: 'nobody', method: 'echo', timeout: 8000 });
      assert.equal(code, 1501, `${a.name} calls nobody`);
    }),
  ]);
});

test('data tracks of each client that has them arrive at the others', async () => {
  for (const a of TRACKED) {
    const text = `frame of ${a.name}`;
    await a.client.publishDataTrack({ name: `sensor of ${a.name}`, text });
    await Promise.all(TRACKED.filter((b) => b !== a).map((b) => b.client.got({ from: a.name, topic: 'track', text })));
    await a.client.endDataTracks();
  }
});
