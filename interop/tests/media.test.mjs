// Every codec that Chromium sends is decoded by Chromium and by the Python SDK.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { python, startBrowser } from '../lib/clients.mjs';
import { startServer } from '../lib/server.mjs';

let server;
let browser;
let ada;
let viewer;
let ben;

before(async () => {
  server = await startServer();
  browser = await startBrowser();
  [ada, viewer, ben] = [await browser.participant('ada'), await browser.participant('viewer'), python()];
  for (const [client, name] of [[ada, 'ada'], [viewer, 'viewer'], [ben, 'ben']]) {
    await client.join({ url: server.ws, token: await server.token(name, 'media') });
  }
});

after(async () => {
  for (const one of [ben, browser, server]) await one?.stop();
});

/** Takes back all that `ada` publishes, and waits until the others know. */
async function clear() {
  await ada.get({ code: `Promise.all([...room.localParticipant.trackPublications.values()].map((p) => room.localParticipant.unpublishTrack(p.track))).then(() => true)` });
  await viewer.holds({ code: `room.remoteParticipants.get('ada').trackPublications.size === 0` });
  await ben.holds({ code: `len(room.remote_participants['ada'].track_publications) == 0` });
}

async function picture(videoCodec, colour) {
  await ada.publish({ colour, width: 640, height: 360, video: { videoCodec, simulcast: false, backupCodec: false } });
  await viewer.saw({ from: 'ada', colour });
  await ben.saw({ from: 'ada', colour });
  const entry = await viewer.decoded({ from: 'ada', more: 20 });
  assert.equal(entry.mime.toLowerCase(), `video/${videoCodec}`);
  const { tracks } = await server.api.getParticipant('media', 'ada');
  assert.deepEqual(tracks.map((track) => [track.mimeType.toLowerCase(), track.sid.slice(0, 5)]), [[`video/${videoCodec}`, 'TR_VC']]);
  await clear();
}

test('VP8 from Chromium is decoded by Chromium and Python', () => picture('vp8', [200, 30, 30]));
test('VP9 from Chromium is decoded by Chromium and Python', () => picture('vp9', [30, 160, 30]));
test('AV1 from Chromium is decoded by Chromium and Python', () => picture('av1', [40, 40, 210]));
test('H.264 from Chromium is decoded by Chromium and Python', () => picture('h264', [190, 170, 30]));

async function layers(videoCodec) {
  await ada.publishCamera({ options: { videoCodec, backupCodec: false } });
  await viewer.height({ from: 'ada', height: 720 });
  for (const [quality, height] of [['LOW', 180], ['HIGH', 720], ['MEDIUM', 360]]) {
    await viewer.setQuality({ from: 'ada', quality });
    await viewer.height({ from: 'ada', height });
    const { mime } = await viewer.decoded({ from: 'ada', more: 10 });
    assert.equal(mime.toLowerCase(), `video/${videoCodec}`, `${quality} is what was sent`);
  }
  const { tracks } = await server.api.getParticipant('media', 'ada');
  assert.deepEqual(tracks.map(({ mimeType, layers }) => [mimeType.toLowerCase(), layers.length]), [[`video/${videoCodec}`, 3]]);
  await clear();
}

test('VP8 simulcast gives three layers', () => layers('vp8'));
test('H.264 simulcast gives three layers', () => layers('h264'));

async function sound(tone, red) {
  await ada.publish({ tone, audio: { red } });
  await viewer.heard({ from: 'ada', tone });
  await ben.heard({ from: 'ada', tone });
  const { tracks } = await server.api.getParticipant('media', 'ada');
  assert.deepEqual(tracks.map((track) => [track.mimeType.toLowerCase(), track.disableRed]), [[red ? 'audio/red' : 'audio/opus', !red]]);
  await clear();
}

test('opus without redundancy is heard by Chromium and Python', () => sound(620, false));
test('opus with redundancy is heard by Chromium and Python', () => sound(870, true));

test('a shared screen arrives with its sound', async () => {
  await ada.publishScreen({ tone: 1230, colour: [200, 30, 30] });
  await viewer.saw({ from: 'ada', colour: [200, 30, 30] });
  await viewer.heard({ from: 'ada', tone: 1230 });
  await ben.saw({ from: 'ada', colour: [200, 30, 30] });
  await ben.heard({ from: 'ada', tone: 1230 });
  const { tracks } = await server.api.getParticipant('media', 'ada');
  assert.deepEqual(tracks.map((track) => track.sid.slice(0, 5)).sort(), ['TR_As', 'TR_VS']);
  assert.deepEqual(tracks.map((track) => track.stream), ['screen', 'screen'], 'picture and sound belong together');
});
