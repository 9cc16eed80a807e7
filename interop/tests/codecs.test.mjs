// Codecs other than VP8 from stock clients: scalable streams of VP9 and AV1, whose layers follow the
// subscriber's wish; backup codecs for browsers that do not decode the first one.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { joinPage, startBrowser } from '../lib/clients.mjs';
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

const join = (t, room, identity, more) => joinPage(t, browser, server, { room, identity, ...more });

const VP9_WITH_BACKUP = { videoCodec: 'vp9', backupCodec: { codec: 'vp8', encoding: { maxBitrate: 300_000, maxFramerate: 15 } } };

/** What a participant receives of the publisher's picture, as soon as some more of it was decoded. */
async function mimeOf(viewer) {
  return (await viewer.decoded({ from: 'publisher', more: 5 })).mime;
}

for (const single of [true, false]) {
  test(`a backup codec replaces the first one when a subscriber needs it (${single ? 'single' : 'dual'} connection)`, async (t) => {
    const room = `regression-${single}`;
    const publisher = await join(t, room, 'publisher', { options: { dynacast: true } });
    const rich = await join(t, room, 'rich', { options: { singlePeerConnection: single } });
    await publisher.publish({ colour: [200, 30, 30], width: 320, height: 180, video: VP9_WITH_BACKUP });
    await rich.saw({ from: 'publisher', colour: [200, 30, 30] });
    assert.equal(await mimeOf(rich), 'video/VP9');
    const poor = await join(t, room, 'poor', { options: { singlePeerConnection: single }, only: { video: ['video/vp8'] } });
    await poor.saw({ from: 'publisher', colour: [200, 30, 30] });
    assert.equal(await mimeOf(poor), 'video/VP8');
    // The room is small: all go over, and the first codec is not sent any more.
    await rich.holds({ code: "[...room.remoteParticipants.get('publisher').videoTrackPublications.values()][0].trackInfo.codecs.every((codec) => codec.mid)" });
    while ((await mimeOf(rich)) !== 'video/VP8');
    await rich.saw({ from: 'publisher', colour: [200, 30, 30] });
  });
}

test('under the policy SIMULCAST both codecs are sent and everybody gets the one it decodes', async (t) => {
  const publisher = await join(t, 'both', 'publisher', { options: { dynacast: true } });
  const rich = await join(t, 'both', 'rich');
  const poor = await join(t, 'both', 'poor', { only: { video: ['video/vp8'] } });
  await publisher.publish({ colour: [30, 30, 200], width: 320, height: 180, video: { ...VP9_WITH_BACKUP, backupCodecPolicy: 1 } });
  await Promise.all([rich, poor].map((viewer) => viewer.saw({ from: 'publisher', colour: [30, 30, 200] })));
  assert.deepEqual(await Promise.all([rich, poor].map(mimeOf)), ['video/VP9', 'video/VP8']);
  assert.deepEqual(await Promise.all([rich, poor].map(mimeOf)), ['video/VP9', 'video/VP8']);
});

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

for (const codec of ['vp9', 'av1']) {
  test(`${codec} may come as a stream for each layer, named by RID, and the received one follows the wish`, async (t) => {
    const room = `rids-${codec}`;
    const publisher = await join(t, room, 'publisher');
    const viewer = await join(t, room, 'viewer');
    const video = { videoCodec: codec, simulcast: true, scalabilityMode: 'L1T3', backupCodec: false };
    await publisher.publish({ colour: [200, 30, 30], width: 640, height: 360, video });
    await viewer.height({ from: 'publisher', height: 360 }, 40_000);
    await viewer.saw({ from: 'publisher', colour: [200, 30, 30] });
    for (const [quality, height] of [['LOW', 180], ['HIGH', 360], ['LOW', 180]]) {
      await viewer.setQuality({ from: 'publisher', quality });
      await viewer.height({ from: 'publisher', height }, 20_000);
      await viewer.decoded({ from: 'publisher', more: 10 });
    }
    const { mime, packetsLost } = await viewer.inbound({ from: 'publisher', kind: 'video' });
    assert.deepEqual([mime.toLowerCase(), packetsLost], [`video/${codec}`, 0]);
    const encodings = await publisher.get({ code: '[...room.localParticipant.videoTrackPublications.values()][0].videoTrack.sender.getParameters().encodings.map(({ rid, scalabilityMode }) => `${rid} ${scalabilityMode}`)' });
    assert.deepEqual(encodings, ['q L1T3', 'h L1T3']);
  });
}

for (const codec of ['PCMU', 'PCMA']) {
  test(`sound in ${codec}, as telephones have it, is heard by a browser and comes from one`, async (t) => {
    const publisher = await join(t, codec, 'publisher', { only: { audio: [`audio/${codec.toLowerCase()}`] } });
    const listener = await join(t, codec, 'listener');
    // Chromium refuses a limit below the 64 kbit/s that the codec always has.
    await publisher.publish({ tone: 440, audio: { audioPreset: { maxBitrate: 128_000 } } });
    await listener.heard({ from: 'publisher', tone: 440 });
    const { mime } = await listener.arrival({ from: 'publisher', kind: 'audio' });
    assert.equal(mime, `audio/${codec}`);
  });
}
