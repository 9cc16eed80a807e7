// Permissions as stock clients see them: granted or denied at the join, and changed in mid-call by the API and by the
// publisher's own rule.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { python, startBrowser } from '../lib/clients.mjs';
import { startServer } from '../lib/server.mjs';

const ROOM = 'permissions';
const RED = [200, 30, 30];
const GREEN = [30, 160, 30];
const MICROPHONE = 2;
let server;
let browser;
let ben;
let count = 0;

before(async () => {
  server = await startServer();
  browser = await startBrowser();
  ben = python();
  await ben.join({ url: server.ws, token: await server.token('ben', ROOM) });
  await ben.publish({ tone: 440, colour: RED });
});

after(async () => {
  for (const one of [ben, browser, server]) await one?.stop();
});

/** A browser in the room, with a single peer connection or two by turns. */
async function enter(identity, grants = {}) {
  const client = await browser.participant(identity);
  const options = { singlePeerConnection: count++ % 2 === 0 };
  await client.join({ url: server.ws, token: await server.token(identity, ROOM, grants), options });
  return client;
}

/** Sets the permissions of somebody by the API: everything, but for what is given. */
const permit = (identity, permission) =>
  server.api.updateParticipant(ROOM, identity, { permission: { canSubscribe: true, canPublish: true, canPublishData: true, ...permission } });

/** A message of the API that everybody gets: what was sent before it has arrived or never will. */
async function barrier(client, text = `barrier ${count++}`) {
  await server.api.sendData(ROOM, new TextEncoder().encode(text), 0, {});
  await client.received({ text });
}

async function end(client, identity) {
  await client.leave();
  await ben.gone({ identity });
  await client.stop();
}

const tracksOf = (identity) => `[...room.remoteParticipants.get('${identity}').trackPublications.values()]`;
const sourcesOf = async (identity) => (await server.api.getParticipant(ROOM, identity)).tracks.map((track) => track.source).sort();

test('who may not subscribe gets no media until it may, and loses it when it may not again', async () => {
  const eve = await enter('eve', { canSubscribe: false });
  await eve.publish({ tone: 870 });
  await ben.heard({ from: 'eve', tone: 870 });
  await barrier(eve);
  assert.deepEqual((await eve.state()).subscribed, []);
  for (let round = 0; round < 2; round++) {
    await permit('eve', {});
    await eve.heard({ from: 'ben', tone: 440 });
    await eve.saw({ from: 'ben', colour: RED });
    await permit('eve', { canSubscribe: false });
    await eve.holds({ code: `${tracksOf('ben')}.every((one) => !one.track)` });
  }
  await ben.heard({ from: 'eve', tone: 870 });
  await end(eve, 'eve');
});

test('who may not publish any more is unpublished, and may publish again when allowed', async () => {
  const pat = await enter('pat');
  await pat.publish({ tone: 870, colour: GREEN });
  await ben.saw({ from: 'pat', colour: GREEN });
  await permit('pat', { canPublish: false });
  await pat.holds({ code: `room.localParticipant.trackPublications.size === 0` });
  await ben.holds({ code: `len(room.remote_participants['pat'].track_publications) == 0` });
  assert.deepEqual(await sourcesOf('pat'), []);
  await assert.rejects(pat.publish({ tone: 1230 }));
  await permit('pat', {});
  await pat.holds({ code: `room.localParticipant.permissions.canPublish` });
  await pat.publish({ tone: 1710 });
  await ben.heard({ from: 'pat', tone: 1710 });
  await end(pat, 'pat');
});

test('a source that is not allowed any more is unpublished alone', async () => {
  const sue = await enter('sue');
  await sue.publish({ tone: 870, colour: GREEN });
  await ben.saw({ from: 'sue', colour: GREEN });
  await permit('sue', { canPublishSources: [MICROPHONE] });
  await sue.holds({ code: `room.localParticipant.videoTrackPublications.size === 0` });
  await ben.holds({ code: `len(room.remote_participants['sue'].track_publications) == 1` });
  assert.deepEqual(await sourcesOf('sue'), [MICROPHONE]);
  await assert.rejects(sue.publish({ colour: GREEN }));
  await ben.heard({ from: 'sue', tone: 870 });
  await permit('sue', {});
  await sue.holds({ code: `room.localParticipant.permissions.canPublishSources.length === 0` });
  await sue.publish({ colour: GREEN });
  await ben.holds({ code: `len(room.remote_participants['sue'].track_publications) == 2` });
  await end(sue, 'sue');
});

test('data passes only as long as it is allowed', async () => {
  const dan = await enter('dan', { canPublishData: false });
  const say = (text) => dan.send({ text, reliable: true });
  // The API is faster than a channel: what is said has to arrive before the permission changes.
  const refused = async (text) => {
    const before = await server.metric('plenum_data_dropped_total');
    await say(text);
    while ((await server.metric('plenum_data_dropped_total')) === before);
  };
  await refused('at the join');
  await permit('dan', {});
  await dan.holds({ code: `room.localParticipant.permissions.canPublishData` });
  await say('allowed');
  await ben.received({ text: 'allowed' });
  await permit('dan', { canPublishData: false });
  await dan.holds({ code: `!room.localParticipant.permissions.canPublishData` });
  await refused('revoked');
  await permit('dan', {});
  await dan.holds({ code: `room.localParticipant.permissions.canPublishData` });
  await say('restored');
  // The channel keeps its order: what came before would be here.
  await ben.received({ text: 'restored' });
  const texts = (await ben.state()).data.filter((one) => one.from === 'dan').map((one) => one.text);
  assert.deepEqual(texts, ['allowed', 'restored']);
  await end(dan, 'dan');
});

test('a hidden client is nobody to the others until it is shown', async () => {
  const spy = await enter('spy', { hidden: true });
  await spy.heard({ from: 'ben', tone: 440 });
  await spy.send({ text: 'from the shadows', reliable: true });
  assert.equal((await ben.received({ text: 'from the shadows' })).from, '');
  await server.api.updateParticipant(ROOM, 'spy', { metadata: 'secret' });
  await spy.holds({ code: `room.localParticipant.metadata === 'secret'` });
  await barrier(ben);
  assert.ok(!(await ben.participants()).includes('spy'));
  await permit('spy', { hidden: false });
  await ben.present({ identity: 'spy' });
  await permit('spy', { hidden: true });
  await spy.send({ text: 'hidden again', reliable: true });
  assert.equal((await ben.received({ text: 'hidden again' })).from, '');
  await spy.leave();
  await spy.stop();
});

test('own metadata changes only with permission', async () => {
  const amy = await enter('amy');
  const rename = (metadata) => amy.get({ code: `room.localParticipant.setMetadata('${metadata}').then(() => 'done', (error) => String(error))` });
  assert.match(await rename('denied at the join'), /permission/);
  await permit('amy', { canUpdateMetadata: true });
  await amy.holds({ code: `room.localParticipant.permissions.canUpdateMetadata` });
  assert.equal(await rename('allowed'), 'done');
  await ben.holds({ code: `room.remote_participants['amy'].metadata == 'allowed'` });
  await permit('amy', {});
  await amy.holds({ code: `!room.localParticipant.permissions.canUpdateMetadata` });
  assert.match(await rename('revoked'), /permission/);
  assert.equal((await server.api.getParticipant(ROOM, 'amy')).metadata, 'allowed');
  await end(amy, 'amy');
});

test("a publisher's own rule gives its tracks to some and takes them from others", async () => {
  const [pia, tom] = [await enter('pia'), await enter('tom')];
  // Who only watches is told of with the next batch; who leaves before that was never there.
  await ben.present({ identity: 'tom' });
  await pia.publish({ tone: 870, colour: GREEN });
  await tom.saw({ from: 'pia', colour: GREEN });
  await tom.heard({ from: 'pia', tone: 870 });
  await ben.heard({ from: 'pia', tone: 870 });
  const rule = (all, others = '[]') => pia.get({ code: `void room.localParticipant.setTrackSubscriptionPermissions(${all}, ${others})` });
  const has = (audio, video) => ({
    code: `${tracksOf('pia')}.length === 2 && ${tracksOf('pia')}.every((one) => !!one.track === (one.kind === 'audio' ? ${audio} : ${video}))`,
  });

  await rule(false, `[{ participantIdentity: 'ben', allowAll: true }]`);
  await tom.holds(has(false, false));
  assert.ok((await tom.state()).events.includes('trackSubscriptionPermissionChanged'));

  const video = `[...room.localParticipant.videoTrackPublications.values()][0].trackSid`;
  await rule(false, `[{ participantIdentity: 'ben', allowAll: true }, { participantIdentity: 'tom', allowedTrackSids: [${video}] }]`);
  await tom.holds(has(false, true));
  await tom.decoded({ from: 'pia', more: 5 });
  await ben.heard({ from: 'pia', tone: 870 });

  await rule(true);
  await tom.holds(has(true, true));
  await tom.heard({ from: 'pia', tone: 870 });
  await end(pia, 'pia');
  await end(tom, 'tom');
});
