// Connection quality as stock browsers are told of it: on a clean network, with loss, and after it.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { startBrowser } from '../lib/clients.mjs';
import { startRelay } from '../lib/relay.mjs';
import { startServer } from '../lib/server.mjs';

let server;
let browser;
let relay;
let lossy;
let clean;

/** Notes every ConnectionQualityChanged event of a page, with its time, from before the join on. */
const note = (page) =>
  page.evaluate(() => {
    window.qualities = [];
    const { Room, RoomEvent } = window.LivekitClient;
    const emit = Room.prototype.emit;
    Room.prototype.emit = function (event, ...args) {
      if (event === RoomEvent.ConnectionQualityChanged) {
        const [quality, participant] = args;
        window.qualities.push({ quality, identity: participant.identity, at: performance.now() });
      }
      return emit.call(this, event, ...args);
    };
  });

/**
 * Resolves with the milliseconds until a page is told that quality about somebody; at once if it holds.
 * The first quality of the page's own participant is seen in its state: no event was seen to reach the room.
 */
const becomes = (page, identity, wanted, ms) =>
  page.evaluate(
    ([identity, wanted, ms]) =>
      new Promise((resolve, reject) => {
        const begin = performance.now();
        const timer = setInterval(() => {
          const last = window.qualities.filter((one) => one.identity === identity).at(-1);
          const passed = performance.now() - begin;
          const state = window.room.getParticipantByIdentity(identity)?.connectionQuality;
          if (wanted.includes(last ? last.quality : state)) resolve(last ? Math.max(0, last.at - begin) : passed);
          else if (passed > ms) reject(new Error(`${identity}: no ${wanted} in ${ms} ms; told: ${JSON.stringify(window.qualities)}`));
          else return;
          clearInterval(timer);
        }, 50);
      }),
    [identity, wanted, ms],
  );

before(async () => {
  // ICE-lite: the server sends no checks of its own, which would find a way around the relay.
  server = await startServer({ rtc: '  use_ice_lite: true' });
  browser = await startBrowser();
  relay = await startRelay(server.udp, { loss: 0, seed: 11 });
  lossy = await browser.participant('lossy', { relay: [server.udp, relay.port] });
  clean = await browser.participant('clean');
  await Promise.all([note(lossy.page), note(clean.page)]);
});

after(async () => {
  await browser?.stop();
  await relay?.stop();
  await server?.stop();
});

test('excellent is told within a tick of five seconds, about oneself and those one receives', async () => {
  for (const [client, name, tone, colour] of [[lossy, 'lossy', 870, [200, 30, 30]], [clean, 'clean', 440, [30, 160, 30]]]) {
    await client.join({ url: server.ws, token: await server.token(name, 'quality') });
    await client.publish({ tone, colour, width: 320, height: 180, fps: 15 });
  }
  await Promise.all([lossy.saw({ from: 'clean', colour: [30, 160, 30] }), clean.saw({ from: 'lossy', colour: [200, 30, 30] })]);
  for (const { page } of [lossy, clean])
    for (const identity of ['lossy', 'clean']) assert.ok((await becomes(page, identity, ['excellent'], 6_000)) <= 6_000);
});

test('with 40 % loss the quality falls, for oneself and in the eyes of others, and recovers', async (t) => {
  relay.setLoss(0.4);
  const fell = await Promise.all([becomes(lossy.page, 'lossy', ['good', 'poor'], 16_000), becomes(clean.page, 'lossy', ['good', 'poor'], 16_000)]);
  t.diagnostic(`fell after ${fell.map((ms) => (ms / 1000).toFixed(1)).join(' and ')} s`);
  await becomes(lossy.page, 'lossy', ['poor'], 12_000);
  assert.ok(relay.stats.lostDown > 50 && relay.stats.lostUp > 50, JSON.stringify(relay.stats));
  relay.setLoss(0);
  const rose = await becomes(clean.page, 'lossy', ['excellent'], 30_000);
  t.diagnostic(`rose after ${(rose / 1000).toFixed(1)} s`);
});
