// One room over two media threads: nobody can tell.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { node, python } from '../lib/clients.mjs';
import { startServer } from '../lib/server.mjs';

const CAST = [
  { name: 'a', make: python, tone: 440, colour: [200, 30, 30] },
  { name: 'b', make: node, tone: 870, colour: [30, 160, 30] },
  { name: 'c', make: python, tone: 1230, colour: [40, 40, 210] },
];
const PAIRS = CAST.flatMap((a) => CAST.filter((b) => a !== b).map((b) => [a, b]));
let server;

before(async () => {
  server = await startServer({ config: 'plenum:\n  media:\n    threads: 2\n    spread_rooms: true\n' });
  for (const one of CAST) {
    one.client = one.make();
    await one.client.join({ url: server.ws, token: await server.token(one.name, 'spread') });
    await one.client.publish({ tone: one.tone, colour: one.colour, fps: 10 });
  }
});

after(async () => {
  for (const one of CAST) await one.client?.stop();
  await server?.stop();
});

test('every pair of a room that spans two media threads hears and sees each other', async () => {
  await Promise.all(PAIRS.flatMap(([a, b]) => [
    b.client.heard({ from: a.name, tone: a.tone }),
    b.client.saw({ from: a.name, colour: a.colour }),
  ]));
});

test('data crosses media threads', async () => {
  for (const reliable of [true, false]) {
    const text = `across threads ${reliable}`;
    await CAST[0].client.send({ text, reliable });
    for (const other of CAST.slice(1)) assert.equal((await other.client.received({ text })).from, 'a');
  }
});
