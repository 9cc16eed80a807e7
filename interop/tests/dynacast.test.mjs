// Dynacast and adaptive stream in the browser's own statistics: a tile that is hidden or small makes the publisher
// stop the layers that nobody watches, and a tile that is shown again has them back at once.
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

/** A publisher with simulcast and dynacast, and a viewer that streams adaptively, in a room of their own. */
async function call(room, singlePeerConnection) {
  const join = async (identity, options) => {
    const client = await browser.participant(identity);
    await client.join({ url: server.ws, token: await server.token(identity, room), options: { singlePeerConnection, ...options } });
    return client;
  };
  const publisher = await join('publisher', { dynacast: true });
  const viewer = await join('viewer', { adaptiveStream: true });
  await publisher.publishCamera();
  await viewer.holds({ code: `window.videos.has('publisher')` });
  return { publisher, viewer };
}

/**
 * Resolves when exactly these layers of the published camera are sent: each grows by frames and is active, the others
 * are inactive and still.
 */
const sends = (publisher, wanted) =>
  publisher.page.evaluate(async (rids) => {
    const layers = async () => {
      const { track } = [...window.room.localParticipant.videoTrackPublications.values()][0];
      const stats = [...(await track.sender.getStats()).values()].filter((entry) => entry.type === 'outbound-rtp');
      return Object.fromEntries(stats.map(({ rid, active, framesSent }) => [rid, { active, framesSent }]));
    };
    let last = await layers();
    for (;;) {
      await new Promise((done) => setTimeout(done, 100));
      const now = await layers();
      const entries = Object.entries(now);
      const right = ([rid, { active, framesSent }]) => {
        const more = framesSent - (last[rid]?.framesSent ?? 0);
        return rids.includes(rid) ? active && more > 0 : !active && more === 0;
      };
      if (entries.length === 3 && entries.every(right)) return now;
      last = now;
    }
  }, wanted);

const style = (viewer, styles) => viewer.page.evaluate((values) => void Object.assign(window.videos.get('publisher').style, values), styles);

async function took(what) {
  const start = performance.now();
  await what();
  return performance.now() - start;
}

for (const [mode, single] of [['single', true], ['dual', false]]) {
  test(`a hidden tile stops the publisher after the debounce and a shown one brings it back within a second (${mode})`, async (t) => {
    const { publisher, viewer } = await call(`hide-${mode}`, single);
    await style(viewer, { width: '1280px', height: '720px' });
    await sends(publisher, ['q', 'h', 'f']);
    await viewer.height({ from: 'publisher', height: 720 });

    // The median of three: a machine that stands still for a moment says nothing about the server.
    const times = [];
    while (times.length < 3) {
      const off = await took(async () => {
        await style(viewer, { display: 'none' });
        await sends(publisher, []);
      });
      const top = took(() => sends(publisher, ['q', 'h', 'f']));
      const pictures = took(() => viewer.decoded({ from: 'publisher', more: 3 }));
      await style(viewer, { display: '' });
      const [layers, picture] = await Promise.all([top, pictures]);
      times.push({ off, picture, layers });
      t.diagnostic(`everything off after ${off.toFixed(0)} ms; shown again: pictures after ${picture.toFixed(0)} ms, all layers after ${layers.toFixed(0)} ms`);
    }
    const median = (name) => times.map((one) => one[name]).sort((a, b) => a - b)[1];
    assert.ok(median('off') > 5000 && median('off') < 8000, 'the debounce');
    assert.ok(median('picture') < 1000 && median('layers') < 1000, 'within a second');
    await viewer.height({ from: 'publisher', height: 720 });

    if (single) {
      await style(viewer, { width: '160px', height: '90px' });
      await viewer.height({ from: 'publisher', height: 180 });
      await sends(publisher, ['q']);
      await viewer.decoded({ from: 'publisher', more: 10 });
      await style(viewer, { width: '640px', height: '360px' });
      await sends(publisher, ['q', 'h']);
      await viewer.height({ from: 'publisher', height: 360 });
    }
    for (const client of [publisher, viewer]) {
      await client.leave();
      await client.stop();
    }
  });
}
