// VP8 simulcast whose packets carry the dependency descriptor: layers are switched and thinned out, and
// what a browser decodes by the descriptor stays whole.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { negotiatingExtension, startBrowser } from '../lib/clients.mjs';
import { startServer } from '../lib/server.mjs';

const DESCRIPTOR = 'https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension';
let server;
let browser;

before(async () => {
  server = await startServer();
  browser = await startBrowser();
  await browser.context.addInitScript(negotiatingExtension, DESCRIPTOR);
});

after(async () => {
  await browser?.stop();
  await server?.stop();
});

for (const [name, single] of [['single', true], ['dual', false]]) {
  test(`VP8 with a dependency descriptor follows wishes for layers and frame rates (${name} connection)`, async (t) => {
    const clients = [];
    for (const identity of ['publisher', 'viewer']) {
      const one = await browser.participant(identity);
      t.after(() => one.stop());
      await one.join({ url: server.ws, token: await server.token(identity, name), options: { singlePeerConnection: single } });
      clients.push(one);
    }
    const [publisher, viewer] = clients;
    await publisher.publish({ colour: [200, 30, 30], width: 640, height: 360, fps: 30, video: { videoCodec: 'vp8', simulcast: true } });
    await viewer.height({ from: 'publisher', height: 360 }, 40_000);
    // Both sides agreed on it, on the sections of the picture.
    const uses = (code) => `[...room.engine.pcManager.${code}.getTransceivers()].some((one) => one.receiver.track.kind === 'video' && one.getNegotiatedHeaderExtensions().some(({ uri, direction }) => uri.includes('dependency-descriptor') && direction !== 'stopped'))`;
    assert.ok(await publisher.get({ code: uses('publisher') }), 'the publisher sends it');
    assert.ok(await viewer.get({ code: uses(single ? 'publisher' : 'subscriber') }), 'the viewer gets it');
    for (const [quality, height] of [['LOW', 180], ['HIGH', 360], ['LOW', 180], ['HIGH', 360]]) {
      await viewer.setQuality({ from: 'publisher', quality });
      await viewer.height({ from: 'publisher', height }, 20_000);
      await viewer.decoded({ from: 'publisher', more: 20 });
    }
    await viewer.get({ code: "[...room.remoteParticipants.get('publisher').videoTrackPublications.values()][0].setVideoFPS(7)" });
    // Of the same layer fewer pictures come than the publisher sends, and every one that comes is shown.
    const sent = () => publisher.get({ code: "[...room.localParticipant.videoTrackPublications.values()][0].videoTrack.sender.getStats().then((report) => [...report.values()].find((one) => one.type === 'outbound-rtp' && one.rid === 'h').framesSent)" });
    for (;;) {
      const before = [await sent(), (await viewer.inbound({ from: 'publisher', kind: 'video' })).framesReceived];
      await viewer.decoded({ from: 'publisher', more: 20 });
      const [more, received] = [(await sent()) - before[0], (await viewer.inbound({ from: 'publisher', kind: 'video' })).framesReceived - before[1]];
      if (received < 0.6 * more) break;
    }
    await viewer.height({ from: 'publisher', height: 360 });
    const { mime, packetsLost, framesReceived, framesDecoded, framesDropped } = await viewer.inbound({ from: 'publisher', kind: 'video' });
    assert.deepEqual([mime, packetsLost], ['video/VP8', 0]);
    assert.ok(framesReceived - framesDecoded - framesDropped < 10, `${framesReceived} received, ${framesDecoded} decoded`);
  });
}
