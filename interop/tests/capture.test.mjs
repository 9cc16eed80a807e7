// When sound and picture were captured, as Chromium tells a page that asks for the extension.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { negotiatingExtension, startBrowser } from '../lib/clients.mjs';
import { startServer } from '../lib/server.mjs';

const GREEN = [30, 160, 30];
const MODES = [['single', true], ['dual', false]];
/** Milliseconds from 1900, where NTP begins, to 1970. */
const NTP_EPOCH_MS = 2_208_988_800_000;
const CAPTURE_TIME = 'http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time';
let server;
let browser;
const clients = {};

before(async () => {
  server = await startServer();
  browser = await startBrowser();
  await browser.context.addInitScript(negotiatingExtension, CAPTURE_TIME);
  for (const [name, single] of MODES) {
    const client = await browser.participant(name);
    await client.join({ url: server.ws, token: await server.token(name, 'captured'), options: { singlePeerConnection: single } });
    clients[name] = client;
  }
  for (const client of Object.values(clients)) await client.publish({ tone: 440, colour: GREEN });
});

after(async () => {
  await browser?.stop();
  await server?.stop();
});

for (const [listener, speaker] of [['single', 'dual'], ['dual', 'single']]) {
  for (const kind of ['audio', 'video']) {
    test(`a ${listener} listener is told when the ${kind} of a ${speaker} publisher was captured`, async () => {
      const client = clients[listener];
      const code = `(() => {
        const tracks = [...room.remoteParticipants.get('${speaker}')?.trackPublications.values() ?? []];
        const receiver = tracks.find((one) => one.kind === '${kind}')?.track?.receiver;
        const source = receiver?.getSynchronizationSources()[0];
        return source?.captureTimestamp && { captured: source.captureTimestamp, rtp: source.rtpTimestamp, now: Date.now() };
      })()`;
      await client.holds({ code });
      const first = await client.get({ code });
      // It was captured in the past, and on the clock of the publisher, which is ours.
      const age = first.now + NTP_EPOCH_MS - first.captured;
      assert.ok(age > -50 && age < 10_000, `captured ${age} ms ago`);
      const rate = kind === 'audio' ? 48 : 90;
      await client.holds({ code: `(${code})?.rtp >= ${first.rtp} + ${rate * 2000}` });
      const second = await client.get({ code });
      const [captured, played] = [second.captured - first.captured, (second.rtp - first.rtp) / rate];
      assert.ok(Math.abs(captured - played) < 100, `${played} ms of media were captured within ${captured} ms`);
    });
  }
}
