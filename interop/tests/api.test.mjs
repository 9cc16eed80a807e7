// The room service, called through the stock server SDKs, against a live call of stock clients.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { DataPacket_Kind } from 'livekit-server-sdk';
import { python, startBrowser } from '../lib/clients.mjs';
import { KEY, SECRET, startServer } from '../lib/server.mjs';

const ROOM = 'managed';
let server;
let browser;
let ada;
let ben;

/** A call through the Python server SDK. */
const pythonApi = (method, request) => ben.call({ url: server.http, key: KEY, secret: SECRET, method, request });

const trackOf = async (identity, type) => (await server.api.getParticipant(ROOM, identity)).tracks.find((track) => track.type === type);

before(async () => {
  server = await startServer();
  browser = await startBrowser();
  [ada, ben] = [await browser.participant('ada'), python()];
});

after(async () => {
  await ben?.stop();
  await browser?.stop();
  await server?.stop();
});

test('a room is created once with its settings and listed by name', async () => {
  const made = await server.api.createRoom({ name: ROOM, emptyTimeout: 120, departureTimeout: 30, maxParticipants: 5, metadata: 'first' });
  const again = await pythonApi('create_room', { name: ROOM });
  assert.equal(again.sid, made.sid);
  assert.deepEqual([again.metadata, again.empty_timeout, again.departure_timeout, again.max_participants], ['first', 120, 30, 5]);
  assert.deepEqual((await server.api.listRooms([ROOM, 'nowhere'])).map((room) => room.sid), [made.sid]);
  assert.deepEqual(await pythonApi('list_rooms', { names: ['nowhere'] }), {});
});

test('participants and their tracks are listed and got by both SDKs', async () => {
  await ada.join({ url: server.ws, token: await server.token('ada', ROOM) });
  await ben.join({ url: server.ws, token: await server.token('ben', ROOM) });
  await ada.publish({ tone: 440, colour: [200, 30, 30] });
  await ben.heard({ from: 'ada', tone: 440 });
  await ben.saw({ from: 'ada', colour: [200, 30, 30] });
  const listed = await server.api.listParticipants(ROOM);
  assert.deepEqual(listed.map((one) => one.identity).sort(), ['ada', 'ben']);
  const got = await pythonApi('get_participant', { room: ROOM, identity: 'ada' });
  assert.deepEqual([got.state, got.is_publisher, got.tracks.length], ['ACTIVE', true, 2]);
  const sids = got.tracks.map((track) => track.sid.slice(0, 5)).sort();
  assert.deepEqual(sids, ['TR_AM', 'TR_VC']);
  assert.equal((await pythonApi('get_participant', { room: ROOM, identity: 'nobody' })).error, 'not_found');
});

test('the API mutes a track for everybody and may not unmute it', async () => {
  const { sid } = await trackOf('ada', 0);
  const answer = await server.api.mutePublishedTrack(ROOM, 'ada', sid, true);
  assert.deepEqual([answer.sid, answer.muted], [sid, true]);
  await ada.holds({ code: `!room.localParticipant.isMicrophoneEnabled` });
  await ben.holds({ code: `any(t.muted for t in room.remote_participants['ada'].track_publications.values())` });
  const refused = await pythonApi('mute_published_track', { room: ROOM, identity: 'ada', track_sid: sid, muted: false });
  assert.ok(refused.error, JSON.stringify(refused));
  assert.equal((await trackOf('ada', 0)).muted, true);
  await ada.get({ code: `[...room.localParticipant.audioTrackPublications.values()][0].unmute().then(() => true)` });
  await ben.holds({ code: `not any(t.muted for t in room.remote_participants['ada'].track_publications.values())` });
  await ben.heard({ from: 'ada', tone: 440 });
});

test('metadata, name and attributes set by the API are seen by all clients', async () => {
  await server.api.updateParticipant(ROOM, 'ada', { metadata: 'm1', name: 'Ada L.', attributes: { seat: '7' } });
  for (const [client, code] of [
    [ada, `((p) => p.metadata === 'm1' && p.name === 'Ada L.' && p.attributes.seat === '7')(room.localParticipant)`],
    [ben, `(lambda p: p.metadata == 'm1' and p.name == 'Ada L.' and p.attributes.get('seat') == '7')(room.remote_participants['ada'])`],
  ]) await client.holds({ code });
  const changed = await pythonApi('update_participant', { room: ROOM, identity: 'ben', metadata: 'm2' });
  assert.deepEqual([changed.metadata, changed.name], ['m2', 'ben']);
  await ada.holds({ code: `room.remoteParticipants.get('ben')?.metadata === 'm2'` });
});

test('a permission set by the API stops and allows publishing', async () => {
  const permission = (canPublish) => ({ permission: { canPublish, canSubscribe: true, canPublishData: true } });
  await server.api.updateParticipant(ROOM, 'ben', permission(false));
  await ben.holds({ code: `not room.local_participant.permissions.can_publish` });
  await server.api.updateParticipant(ROOM, 'ben', permission(true));
  await ben.holds({ code: `room.local_participant.permissions.can_publish` });
});

test('subscriptions set by the API stop and start media', async () => {
  await ben.publish({ tone: 1230, colour: [40, 40, 210] });
  await ada.saw({ from: 'ben', colour: [40, 40, 210] });
  const { sid } = await trackOf('ben', 1);
  const track = `room.remoteParticipants.get('ben').trackPublications.get('${sid}').track`;
  await pythonApi('update_subscriptions', { room: ROOM, identity: 'ada', track_sids: [sid], subscribe: false });
  await ada.holds({ code: `!${track}` });
  await ada.forget({ from: 'ben' });
  await server.api.updateSubscriptions(ROOM, 'ada', [sid], true);
  await ada.saw({ from: 'ben', colour: [40, 40, 210] });
});

test('data of the API arrives without a sender, at its destinations only', async () => {
  const data = (text) => new TextEncoder().encode(text);
  await server.api.sendData(ROOM, data('only ben'), DataPacket_Kind.RELIABLE, { destinationIdentities: ['ben'], topic: 't' });
  assert.deepEqual(await ben.received({ text: 'only ben' }), { from: '', topic: 't', text: 'only ben' });
  await pythonApi('send_data', { room: ROOM, data: Buffer.from('all').toString('base64'), kind: 'RELIABLE', nonce: Buffer.alloc(16, 1).toString('base64') });
  assert.equal((await ada.received({ text: 'all' })).from, '');
  await ben.received({ text: 'all' });
  assert.ok(!(await ada.state()).data.some((one) => one.text === 'only ben'));
});

test('room metadata set by the API is seen by all clients', async () => {
  const room = await server.api.updateRoomMetadata(ROOM, 'second');
  assert.equal(room.metadata, 'second');
  await ada.holds({ code: `room.metadata === 'second'` });
  await ben.holds({ code: `room.metadata == 'second'` });
});

test('a removed participant is told so, and the others see it leave', async () => {
  await server.api.removeParticipant(ROOM, 'ada');
  await ada.holds({ code: `state.disconnected === 'PARTICIPANT_REMOVED'` });
  await ben.holds({ code: `self.reasons.get('ada') == 'PARTICIPANT_REMOVED'` });
  assert.deepEqual((await server.api.listParticipants(ROOM)).map((one) => one.identity), ['ben']);
});

test('deleting a room disconnects everybody with its reason', async () => {
  await server.api.deleteRoom(ROOM);
  await ben.holds({ code: `self.disconnected == 'ROOM_DELETED'` });
  assert.deepEqual(await server.api.listRooms([ROOM]), []);
});
