// A picture that ends turns black: what an application goes on to show is no frozen frame.
import { after, before, test } from 'node:test';
import { startBrowser } from '../lib/clients.mjs';
import { startServer } from '../lib/server.mjs';

const RED = [200, 30, 30];
const BLACK = [0, 0, 0];
const MODES = [['single', true], ['dual', false]];
let server;
let browser;
const viewers = [];

before(async () => {
  server = await startServer();
  browser = await startBrowser();
  for (const [name, single] of MODES) {
    const viewer = await browser.participant(name);
    await viewer.join({ url: server.ws, token: await server.token(name, 'blank'), options: { singlePeerConnection: single } });
    viewers.push(viewer);
  }
});

after(async () => {
  await browser?.stop();
  await server?.stop();
});

const video = (from) => `room.remoteParticipants.get('${from}')?.videoTrackPublications.values().next().value`;

/**
 * Shows a participant's track in an element of the application's own. The SDK blacks out and
 * detaches its elements itself; a clone of the browser's track shows what arrived last.
 */
const show = (viewer, from) =>
  viewer.get({
    code: `(() => {
      const element = document.createElement('video');
      element.muted = element.autoplay = true;
      element.srcObject = new MediaStream([${video(from)}.track.mediaStreamTrack.clone()]);
      document.body.append(element);
      videos.set('${from}', element);
    })()`,
  });

for (const codec of ['vp8', 'h264']) {
  for (const end of ['unsubscribed', 'unpublished']) {
    test(`the last picture of ${codec} that was ${end} is black`, async () => {
      const from = `${codec}-${end}`;
      const publisher = await browser.participant(from);
      await publisher.join({ url: server.ws, token: await server.token(from, 'blank') });
      await publisher.publish({ colour: RED, video: { simulcast: false, videoCodec: codec, backupCodec: false } });
      for (const viewer of viewers) {
        await viewer.saw({ from, colour: RED });
        await show(viewer, from);
        await viewer.saw({ from, colour: RED });
      }
      if (end === 'unpublished') {
        await publisher.get({ code: `room.localParticipant.unpublishTrack(room.localParticipant.videoTrackPublications.values().next().value.track) && null` });
      } else {
        for (const viewer of viewers) await viewer.get({ code: `${video(from)}.setSubscribed(false)` });
      }
      // The track is gone by the SDK's account as well, and the picture is still black.
      for (const viewer of viewers) {
        await viewer.holds({ code: `!${video(from)}?.track` });
        await viewer.saw({ from, colour: BLACK });
      }
      await publisher.leave();
      await publisher.stop();
    });
  }
}
