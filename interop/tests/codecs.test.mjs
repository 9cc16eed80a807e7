// Codecs other than VP8 from stock clients: scalable streams of VP9 and AV1, whose layers follow the
// subscriber's wish.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { startBrowser } from '../lib/clients.mjs';
import { startServer } from '../lib/server.mjs';

let server;
let browser;

before(async () => {
  server = await startServer();
  browser = await startBrowser();
});

after(async () => {
  await browser?.stop();
  await server?.stop();
});

/** Joins a room in a page of its own; the page is closed when the test ends. */
async function join(t, room, identity, options = {}) {
  const one = await browser.participant(identity);
  t.after(() => one.stop());
  await one.join({ url: server.ws, token: await server.token(identity, room), options });
  return one;
}

for (const codec of ['vp9', 'av1']) {
  test(`the received resolution of a scalable ${codec} stream follows LOW, MEDIUM and HIGH without a freeze`, async (t) => {
    const publisher = await join(t, codec, 'publisher');
    // The page in front shows every picture.
    const viewer = await join(t, codec, 'viewer');
    await publisher.publishCamera({ options: { videoCodec: codec, backupCodec: false } });
    await viewer.height({ from: 'publisher', height: 720 }, 40_000);
    await viewer.watchFrames({ from: 'publisher' });
    for (const [quality, height] of [['LOW', 180], ['MEDIUM', 360], ['HIGH', 720], ['LOW', 180], ['HIGH', 720]]) {
      await viewer.setQuality({ from: 'publisher', quality });
      await viewer.height({ from: 'publisher', height }, 15_000);
      await viewer.decoded({ from: 'publisher', more: 10 });
    }
    const gaps = await viewer.frameGaps();
    assert.ok(gaps.length > 40, `only ${gaps.length} pictures were shown`);
    assert.ok(Math.max(...gaps) <= 500, `a freeze of ${Math.max(...gaps).toFixed(0)} ms`);
    const { mime, packetsLost } = await viewer.inbound({ from: 'publisher', kind: 'video' });
    assert.deepEqual([mime.toLowerCase(), packetsLost], [`video/${codec}`, 0]);
    // One stream of three spatial layers, not three streams.
    const modes = await publisher.get({ code: '[...room.localParticipant.videoTrackPublications.values()][0].videoTrack.sender.getParameters().encodings.map((one) => one.scalabilityMode)' });
    assert.deepEqual(modes, ['L3T3_KEY']);
  });
}
