// Ten percent random loss in both directions, between real browsers and the server.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { startBrowser } from '../lib/clients.mjs';
import { startRelay } from '../lib/relay.mjs';
import { startServer } from '../lib/server.mjs';

let server;
let browser;
let relay;
let viewer;

before(async () => {
  // ICE-lite: the server sends no checks of its own, which would find a way around the relay.
  server = await startServer({ rtc: '  use_ice_lite: true' });
  browser = await startBrowser();
  relay = await startRelay(server.udp, { loss: 0.1, seed: 7 });
  const behind = { relay: [server.udp, relay.port] };
  const publisher = await browser.participant('publisher', behind);
  viewer = await browser.participant('viewer', behind);
  await publisher.join({ url: server.ws, token: await server.token('publisher', 'loss') });
  await viewer.join({ url: server.ws, token: await server.token('viewer', 'loss') });
  await publisher.publish({ tone: 870, colour: [200, 30, 30], width: 640, height: 360, fps: 20 });
  await viewer.saw({ from: 'publisher', colour: [200, 30, 30] }, 40_000);
});

after(async () => {
  await browser?.stop();
  await relay?.stop();
  await server?.stop();
});

test('video decodes on and retransmissions repair it under 10 % loss', async () => {
  const first = await viewer.decoded({ from: 'publisher', more: 1 });
  const last = await viewer.decoded({ from: 'publisher', more: 200 }, 40_000);
  const more = (field) => (last[field] ?? 0) - (first[field] ?? 0);
  assert.ok(relay.stats.lostDown > 20 && relay.stats.lostUp > 20, JSON.stringify(relay.stats));
  // `packetsLost` counts what the primary stream lacked; what RTX brought back is counted apart.
  const [lost, repaired] = [more('packetsLost'), more('retransmittedPacketsReceived')];
  assert.ok(lost > 10, `only ${lost} packets were lost`);
  assert.ok(repaired >= 0.9 * lost, `${repaired} of ${lost} lost packets came back: ${JSON.stringify(last)}`);
  assert.ok(more('keyFramesDecoded') <= 3, `${more('keyFramesDecoded')} key frames were needed`);
  assert.ok(more('totalFreezesDuration') < 1, `frozen for ${more('totalFreezesDuration')} s`);
});

test('less than 2 % of the audio is missing under 10 % loss', async () => {
  await viewer.heard({ from: 'publisher', tone: 870 });
  const first = await viewer.inbound({ from: 'publisher', kind: 'audio' });
  await viewer.decoded({ from: 'publisher', more: 200 }, 40_000);
  const last = await viewer.inbound({ from: 'publisher', kind: 'audio' });
  const more = (field) => (last[field] ?? 0) - (first[field] ?? 0);
  assert.ok(more('totalSamplesReceived') > 200_000, `only ${more('totalSamplesReceived')} samples`);
  const missing = more('concealedSamples') / more('totalSamplesReceived');
  assert.ok(missing < 0.02, `${(100 * missing).toFixed(2)} % of the sound was made up: ${JSON.stringify(last)}`);
});
