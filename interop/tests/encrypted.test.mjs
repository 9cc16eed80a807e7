// End-to-end encrypted calls of stock clients: the server passes on what it cannot read, and marks
// what it adds of its own, so that nobody tries to decrypt that.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { python, startBrowser } from '../lib/clients.mjs';
import { startServer } from '../lib/server.mjs';

const ROOM = 'sealed';
const KEY = 'a key that the server does not know';
let server;
let browser;
const clients = {};

before(async () => {
  server = await startServer();
  browser = await startBrowser();
  clients.ada = await browser.participant('ada');
  clients.bo = await browser.participant('bo');
  clients.spy = await browser.participant('spy');
  clients.cyd = python();
  for (const [identity, client] of Object.entries(clients)) {
    const e2ee = identity === 'spy' ? undefined : KEY;
    await client.join({ url: server.ws, token: await server.token(identity, ROOM), e2ee });
  }
});

after(async () => {
  for (const client of Object.values(clients)) await client.stop();
  await browser?.stop();
  await server?.stop();
});

/** Decryption errors that a browser told of. */
const errors = (client) => client.get({ code: `state.events.filter((one) => one.startsWith(LivekitClient.RoomEvent.EncryptionError)).length` });

test('encrypted participants hear and see each other, and others do not', async () => {
  await clients.ada.publish({ tone: 440, colour: [200, 30, 30] });
  for (const client of [clients.bo, clients.cyd]) {
    await client.heard({ from: 'ada', tone: 440 });
    await client.saw({ from: 'ada', colour: [200, 30, 30] });
  }
  await clients.cyd.publish({ tone: 870, colour: [40, 40, 210] });
  await clients.ada.heard({ from: 'cyd', tone: 870 });
  await clients.ada.saw({ from: 'cyd', colour: [40, 40, 210] });
  const { tracks } = await server.api.getParticipant(ROOM, 'ada');
  assert.deepEqual(tracks.map((track) => track.encryption), [1, 1], 'GCM');
  await clients.spy.holds({ code: `[...room.remoteParticipants.get('ada').trackPublications.values()].every((one) => one.isEncrypted)` });
  const seen = await clients.spy.state();
  assert.notEqual(seen.tones.ada, 440);
  assert.equal(await errors(clients.bo), 0);
});

test('encrypted data reaches the others', async () => {
  await clients.ada.send({ text: 'sealed words', reliable: true });
  for (const client of [clients.bo, clients.cyd]) assert.equal((await client.received({ text: 'sealed words' })).from, 'ada');
});

test('what the server injects into encrypted tracks causes no decryption errors', async () => {
  const packets = async () => (await clients.bo.inbound({ from: 'ada', kind: 'audio' })).packetsReceived;
  await clients.ada.get({ code: `room.localParticipant.setMicrophoneEnabled(false).then(() => true)` });
  await clients.bo.holds({ code: `!room.remoteParticipants.get('ada').isMicrophoneEnabled` });
  // The second of silence behind a mute comes as packets, none of which is decrypted: until they end.
  const muted = await packets();
  for (let [before, now] = [0, muted]; before !== now; [before, now] = [now, await packets()]) await new Promise((later) => setTimeout(later, 200));
  assert.ok((await packets()) - muted > 15, 'silence came');
  await clients.bo.get({ code: `[...room.remoteParticipants.get('ada').videoTrackPublications.values()].forEach((one) => one.setSubscribed(false))` });
  await clients.bo.event({ name: 'trackUnsubscribed' });
  await clients.ada.get({ code: `room.localParticipant.setMicrophoneEnabled(true).then(() => true)` });
  await clients.bo.heard({ from: 'ada', tone: 440 });
  assert.equal(await errors(clients.bo), 0);
});
