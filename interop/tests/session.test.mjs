// Joining, speaking, sending and leaving as stock clients see it, and what they may not do.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import WebSocket from 'ws';
import { DisconnectReason, LeaveRequest, SignalRequest } from '@livekit/protocol';
import { node, python, startBrowser } from '../lib/clients.mjs';
import { startServer } from '../lib/server.mjs';

let server;
let browser;
let ada;
let ben;
let cleo;

const join = async (client, identity, grants = {}, room = 'session') => client.join({ url: server.ws, token: await server.token(identity, room, grants) });

before(async () => {
  server = await startServer();
  browser = await startBrowser();
  [ada, ben, cleo] = [await browser.participant('ada'), python(), node()];
  await join(ada, 'ada');
  await join(ben, 'ben');
  await join(cleo, 'cleo');
  // Joins of those who publish nothing are told in batches.
  for (const identity of ['ben', 'cleo']) await ada.present({ identity });
  await ben.present({ identity: 'cleo' });
});

after(async () => {
  for (const one of [ben, cleo, browser, server]) await one?.stop();
});

test('a browser and the server agree to compress signalling', async () => {
  // Chromium names the extension together with its parameters.
  const extensions = await ada.get({ code: 'sockets.at(-1).extensions' });
  assert.match(extensions, /^permessage-deflate/);
});

test('a speaker is told when a tone plays and when it stops', async () => {
  await ada.publish({ tone: 620 });
  await ben.heard({ from: 'ada', tone: 620 });
  await ben.holds({ code: `'ada' in self.speaking` });
  await ada.holds({ code: `room.localParticipant.isSpeaking` });
  await ada.silence();
  await ben.holds({ code: `self.speaking == []` });
  await ada.holds({ code: `!room.localParticipant.isSpeaking` });
});

test('packets of 60 KB pass between browser, Python and Node', async () => {
  const all = [['ada', ada], ['ben', ben], ['cleo', cleo]];
  for (const [from, sender] of all) {
    const text = `${from}:${'x'.repeat(60_000)}`;
    await sender.send({ text, reliable: true });
    for (const [name, receiver] of all) {
      if (name !== from) assert.equal((await receiver.received({ text })).from, from);
    }
  }
});

test('text streams pass between browser and Python', async () => {
  const long = 'stream '.repeat(5000);
  await ada.get({ code: `room.localParticipant.sendText(${JSON.stringify(long)}, { topic: 'chat' }).then(() => true)` });
  assert.equal((await ben.received({ text: long })).from, 'ada');
  await ben.text({ text: `back ${long}` });
  assert.equal((await ada.received({ text: `back ${long}` })).from, 'ben');
});

test('a sender cannot pass as somebody else', async () => {
  await ada.get({ code: `room.localParticipant.identity = 'cleo'` });
  await ada.send({ text: 'who am I', reliable: true });
  await ada.get({ code: `room.localParticipant.identity = 'ada'` });
  assert.equal((await ben.received({ text: 'who am I' })).from, 'ada');
});

test('data without permission is dropped until the permission comes', async () => {
  const mute = await browser.participant('mute');
  await join(mute, 'mute', { canPublishData: false });
  await mute.send({ text: 'not allowed', reliable: true });
  await server.api.updateParticipant('session', 'mute', { permission: { canSubscribe: true, canPublish: true, canPublishData: true } });
  await mute.holds({ code: `room.localParticipant.permissions.canPublishData` });
  await mute.send({ text: 'allowed', reliable: true });
  await ben.received({ text: 'allowed' });
  assert.ok(!(await ben.state()).data.some((one) => one.text === 'not allowed'));
  await mute.leave();
  await ben.gone({ identity: 'mute' });
});

test('publishing without permission or from a forbidden source is refused', async () => {
  const guest = await browser.participant('guest');
  await join(guest, 'guest', { canPublish: false });
  await assert.rejects(guest.publish({ tone: 870 }));
  await guest.leave();
  const voice = await browser.participant('voice');
  await join(voice, 'voice', { canPublish: true, canPublishSources: [2] });
  await voice.publish({ tone: 870 });
  await ben.heard({ from: 'voice', tone: 870 });
  await assert.rejects(voice.publish({ colour: [200, 30, 30] }));
  assert.deepEqual((await server.api.getParticipant('session', 'voice')).tracks.map((track) => track.source), [2]);
  await voice.leave();
});

test('the same identity again replaces the first session', async () => {
  const [first, second] = [await browser.participant('first'), await browser.participant('second')];
  await join(first, 'twin');
  await ben.present({ identity: 'twin' });
  const before = await server.api.getParticipant('session', 'twin');
  await join(second, 'twin');
  await first.holds({ code: `state.disconnected === 'DUPLICATE_IDENTITY'` });
  assert.notEqual((await server.api.getParticipant('session', 'twin')).sid, before.sid);
  await second.leave();
});

test('the reason that a client gives for leaving is passed on', async () => {
  const socket = new WebSocket(`${server.ws}/rtc?protocol=16&auto_subscribe=1&access_token=${await server.token('caller', 'session')}`);
  await once(socket, 'message');
  await ben.present({ identity: 'caller' });
  const leave = new LeaveRequest({ reason: DisconnectReason.USER_REJECTED });
  socket.send(new SignalRequest({ message: { case: 'leave', value: leave } }).toBinary());
  await ben.holds({ code: `self.reasons.get('caller') == 'USER_REJECTED'` });
  await ada.holds({ code: `state.reasons.caller === 'USER_REJECTED'` });
  socket.terminate();
});

test('others see a publisher leave within a second, with the reason', async () => {
  await cleo.publish({ tone: 1710, colour: [190, 170, 30] });
  await ben.heard({ from: 'cleo', tone: 1710 });
  const start = performance.now();
  await cleo.leave();
  await ben.gone({ identity: 'cleo' });
  await ada.gone({ identity: 'cleo' });
  assert.ok(performance.now() - start < 1000, `it took ${(performance.now() - start).toFixed(0)} ms`);
  await ben.holds({ code: `self.reasons.get('cleo') == 'CLIENT_INITIATED'` });
});

test('a server with a port range instead of one port carries a call', async () => {
  const ranged = await startServer({ ports: 8 });
  const [one, two] = [node(), python()];
  try {
    for (const [client, name] of [[one, 'one'], [two, 'two']]) {
      await client.join({ url: ranged.ws, token: await ranged.token(name, 'range') });
    }
    await one.publish({ tone: 1230, colour: [30, 160, 30] });
    await two.heard({ from: 'one', tone: 1230 });
    await two.saw({ from: 'one', colour: [30, 160, 30] });
  } finally {
    for (const each of [one, two, ranged]) await each.stop();
  }
});
