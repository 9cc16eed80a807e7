// A browser behind a narrow link reads what is sent to all more slowly than the others do.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { startBrowser } from '../lib/clients.mjs';
import { startRelay } from '../lib/relay.mjs';
import { startServer } from '../lib/server.mjs';

// 840 kB: on a link of 1 Mbit/s they take almost seven seconds, on the others' a fraction of one.
const COUNT = 60;
const BYTES = 14_000;
const RATE = 1_000_000;
const clients = {};
let server;
let browser;
let relay;

before(async () => {
  // ICE-lite: the server sends no checks of its own, which would find a way around the relay.
  server = await startServer({ rtc: '  use_ice_lite: true' });
  browser = await startBrowser();
  relay = await startRelay(server.udp);
  for (const name of ['sender', 'quick', 'slow']) {
    clients[name] = await browser.participant(name, name === 'slow' ? { relay: [server.udp, relay.port] } : {});
    await clients[name].join({ url: server.ws, token: await server.token(name, 'slow') });
  }
  for (const name of ['quick', 'slow']) {
    await clients.sender.send({ text: `first of ${name}`, reliable: true, to: [name] });
    await clients[name].received({ text: `first of ${name}` });
  }
});

after(async () => {
  for (const one of [browser, relay, server]) await one?.stop();
});

const burst = (name) => clients[name].get({ code: `state.data.filter((one) => one.topic === 'burst').map((one) => parseInt(one.text))` });
const whole = (name) => clients[name].holds({ code: `state.data.filter((one) => one.topic === 'burst').length >= ${COUNT}` });

test('a browser on a slow link gets every reliable message in order, and the others do not wait for it', async (t) => {
  relay.narrow(RATE);
  await clients.sender.get({
    code: `(async () => {
      for (let number = 0; number < ${COUNT}; number++) {
        const payload = new TextEncoder().encode(String(number).padEnd(${BYTES}));
        await room.localParticipant.publishData(payload, { reliable: true, topic: 'burst' });
      }
    })()`,
  });
  await whole('quick');
  const behind = await burst('slow');
  assert.ok(behind.length < COUNT, 'the slow one had all as early as the quick one');
  await whole('slow');
  const all = Array.from({ length: COUNT }, (_, number) => number);
  for (const name of ['quick', 'slow']) assert.deepEqual(await burst(name), all, name);
  assert.ok(relay.stats.down * 1200 > (COUNT * BYTES) / 2, 'the messages came through the relay');
  t.diagnostic(`${behind.length} of ${COUNT} had come to the slow one when the quick one had all; ${relay.stats.lostDown} packets dropped`);
});
