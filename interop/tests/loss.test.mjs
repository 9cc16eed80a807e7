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
  server = await startServer();
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
  const last = await viewer.decoded({ from: 'publisher', more: 150 }, 40_000);
  assert.ok(relay.stats.lostDown > 20 && relay.stats.lostUp > 20, JSON.stringify(relay.stats));
  assert.ok(last.nackCount > 0, 'the browser sent no NACK');
  assert.ok(last.retransmittedPacketsReceived > 0, 'nothing came as a retransmission');
  const received = last.packetsReceived - first.packetsReceived;
  const lost = last.packetsLost - first.packetsLost;
  assert.ok(lost / received < 0.02, `${lost} of ${received} video packets stayed lost`);
});

test('less than 2 % of the audio is missing under 10 % loss', async () => {
  await viewer.heard({ from: 'publisher', tone: 870 });
  const first = await viewer.inbound({ from: 'publisher', kind: 'audio' });
  await viewer.decoded({ from: 'publisher', more: 200 }, 40_000);
  const last = await viewer.inbound({ from: 'publisher', kind: 'audio' });
  const received = last.packetsReceived - first.packetsReceived;
  const lost = last.packetsLost - first.packetsLost;
  assert.ok(received > 200, `only ${received} audio packets`);
  assert.ok(lost / received < 0.02, `${lost} of ${received} audio packets are missing`);
});
