// Simulcast from Chromium: the subscriber's wish decides the layer, and the stream it gets is one.
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
  relay = await startRelay(server.udp);
  const publisher = await browser.participant('publisher');
  viewer = await browser.participant('viewer', { relay: [server.udp, relay.port] });
  await publisher.join({ url: server.ws, token: await server.token('publisher', 'simulcast') });
  await viewer.join({ url: server.ws, token: await server.token('viewer', 'simulcast') });
  await publisher.publishCamera();
  await viewer.height({ from: 'publisher', height: 720 }, 40_000);
});

after(async () => {
  await browser?.stop();
  await relay?.stop();
  await server?.stop();
});

test('the received resolution follows LOW, MEDIUM and HIGH without a freeze', async () => {
  await viewer.watchFrames({ from: 'publisher' });
  for (const [quality, height] of [['LOW', 180], ['MEDIUM', 360], ['HIGH', 720], ['LOW', 180], ['HIGH', 720]]) {
    await viewer.setQuality({ from: 'publisher', quality });
    await viewer.height({ from: 'publisher', height }, 15_000);
    await viewer.decoded({ from: 'publisher', more: 20 });
  }
  const gaps = await viewer.frameGaps();
  assert.ok(gaps.length > 60, `only ${gaps.length} pictures were shown`);
  assert.ok(Math.max(...gaps) <= 500, `a freeze of ${Math.max(...gaps).toFixed(0)} ms`);
});

test('outgoing sequence numbers are contiguous and timestamps never go back over layer switches', async () => {
  const repairs = new Set(await viewer.repairs());
  const media = [...relay.streams].filter(([ssrc]) => !repairs.has(ssrc));
  const packets = media.reduce((sum, [, stream]) => sum + stream.packets, 0);
  assert.ok(packets > 300, `only ${packets} packets passed the relay`);
  for (const [ssrc, stream] of media) {
    assert.deepEqual(stream.gaps, [], `gaps in the sequence numbers of ${ssrc}`);
    assert.deepEqual(stream.backwards, [], `timestamps of ${ssrc} went back`);
  }
  const entry = await viewer.inbound({ from: 'publisher', kind: 'video' });
  assert.equal(entry.packetsLost, 0);
});
