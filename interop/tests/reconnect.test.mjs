// Connections that break and sessions that the server breaks, as livekit-client in a browser lives
// through them, with one peer connection and with two.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { SignalRequest, SyncState, TrackInfo, TrackPublishedResponse } from '@livekit/protocol';
import { node, python, startBrowser } from '../lib/clients.mjs';
import { startProxy } from '../lib/proxy.mjs';
import { startRelay } from '../lib/relay.mjs';
import { startServer } from '../lib/server.mjs';

const MODES = { single: true, dual: false };
const LOOKS = { single: { tone: 440, colour: [200, 30, 30] }, dual: { tone: 620, colour: [30, 160, 30] } };
const NAMES = Object.keys(MODES);
const other = (name) => (name === 'single' ? 'dual' : 'single');
const clients = {};
let server;
let browser;
let proxy;
let relay;
let watcher;
/** When the participant whose network was cut was seen to leave, in ms after the cut. */
let lost;

const both = (what) => Promise.all(NAMES.map(what));
const sid = (name) => clients[name].get({ code: 'room.localParticipant.sid' });
const forget = (name) => clients[name].get({ code: 'void state.events.splice(0)' });
const reconnected = (name) => clients[name].holds({ code: `state.events.includes('reconnected') && room.state === 'connected'` });
/** Both hear the other one's tone, from packets that came from now on. */
const sounds = () =>
  both(async (name) => {
    await clients[name].arrives({ from: other(name), packets: 25 });
    await clients[name].heard({ from: other(name), tone: LOOKS[other(name)].tone });
  });

async function join(name) {
  const token = await server.token(name, 'reconnect');
  await clients[name].join({ url: proxy.ws, token, options: { singlePeerConnection: MODES[name] } });
  await clients[name].publish(LOOKS[name]);
}

before(async () => {
  // ICE-lite: the server sends no checks of its own, which would find a way around the relay.
  server = await startServer({ rtc: '  use_ice_lite: true' });
  browser = await startBrowser();
  proxy = await startProxy(server.port);
  relay = await startRelay(server.udp);
  for (const name of NAMES) {
    clients[name] = await browser.participant(name, { relay: [server.udp, relay.port] });
    await join(name);
  }
  await sounds();
  const victim = node();
  watcher = python();
  for (const [client, name] of [[watcher, 'watcher'], [victim, 'victim']]) {
    await client.join({ url: server.ws, token: await server.token(name, 'lost') });
  }
  await watcher.present({ identity: 'victim' });
  const start = performance.now();
  victim.kill();
  lost = watcher.gone({ identity: 'victim' }, 60_000).then(() => performance.now() - start);
  lost.catch(() => {});
});

after(async () => {
  for (const one of [watcher, browser, proxy, relay, server]) await one?.stop();
});

/** Both send numbered messages, and get them. */
const counting = () =>
  both(async (name) => {
    await clients[name].count({ name, every: 20 });
    await clients[name].holds({ code: `state.data.filter((one) => one.topic === 'count').length > 10` });
  });

/** Both got every message of the other, once and in order; how many that were. */
async function allCounted() {
  const sent = Object.fromEntries(await both(async (name) => [name, await clients[name].hush()]));
  await both((name) => clients[name].received({ text: `${other(name)}:${sent[other(name)] - 1}` }));
  for (const name of NAMES) {
    const expected = Array.from({ length: sent[other(name)] }, (_, index) => index);
    assert.deepEqual(await numbers(name), expected, `messages of ${other(name)}`);
    await clients[name].get({ code: 'void state.data.splice(0)' });
  }
  return NAMES.map((name) => `${sent[name]} messages of ${name}`).join(', ');
}

/** What one client got of the other's numbered messages. */
const numbers = (name) => clients[name].get({ code: `state.data.filter((one) => one.topic === 'count' && one.from === '${other(name)}').map((one) => Number(one.text.split(':')[1]))` });

test('a cut signal connection costs no message, no sound and no session', async (t) => {
  const before = await both(sid);
  await both(async (name) => {
    await forget(name);
    await clients[name].watchPackets({ from: other(name) });
    await clients[name].holds({ code: 'state.watched > 25' });
  });
  await counting();
  proxy.cut();
  await both(reconnected);
  await both((name) => clients[name].holds({ code: 'state.watched > 150' }));
  t.diagnostic(await allCounted());
  assert.deepEqual(await both(sid), before);
  for (const name of NAMES) {
    const silence = await clients[name].get({ code: 'state.silence' });
    t.diagnostic(`${name}: longest silence ${silence.toFixed(0)} ms`);
    assert.ok(silence < 200, `nothing came to ${name} for ${silence.toFixed(0)} ms`);
    const events = await clients[name].get({ code: 'state.events' });
    assert.ok(!events.includes('participantDisconnected'), `${name} saw somebody leave`);
  }
});

test('an address that changes unnoticed by the client costs no session', async () => {
  const before = await both(sid);
  await both(forget);
  relay.rebind();
  await sounds();
  assert.deepEqual(await both(sid), before);
});

test('a new network is reached by an ICE restart, with the same session and every message', async (t) => {
  const before = await both(sid);
  const next = await startRelay(server.udp);
  await both(async (name) => {
    await forget(name);
    await clients[name].get({ code: `void (window.relayPort = ${next.port})` });
  });
  await counting();
  relay.cut();
  proxy.cut();
  await both(reconnected);
  await sounds();
  assert.deepEqual(await both(sid), before);
  t.diagnostic(await allCounted());
  assert.ok(next.stats.down > 100, `only ${next.stats.down} packets came through the new relay`);
  await relay.stop();
  relay = next;
});

let goings = 0;

/** Both have each other's sound and picture, the one that begins a new session and the one that sees it. */
async function goesOn(name, session, before) {
  await clients[name].settled();
  assert.equal((await sid(name)) === before, session === 'same', name);
  await sounds();
  await both((one) => clients[one].decoded({ from: other(one), more: 10 }));
  await both((one) => clients[one].saw({ from: other(one), colour: LOOKS[other(one)].colour }));
  await both((one) => clients[one].holds({ code: `[...room.remoteParticipants.keys()].join() === '${other(one)}'` }));
  const text = `${name} went on ${++goings}`;
  await clients[name].send({ text, reliable: true });
  await clients[other(name)].received({ text });
}

test('a state that the server does not know makes it order a full reconnect, with all tracks', async () => {
  const unknown = new TrackPublishedResponse({ cid: 'x', track: new TrackInfo({ sid: 'TR_unknown' }) });
  const request = new SignalRequest({ message: { case: 'syncState', value: new SyncState({ publishTracks: [unknown] }) } });
  for (const name of NAMES) {
    const before = await sid(name);
    await forget(name);
    await clients[name].get({ code: `sockets.at(-1).send(new Uint8Array([${request.toBinary()}]))` });
    await goesOn(name, 'new', before);
  }
});

const SCENARIOS = [
  { scenario: 'signal-reconnect', session: 'same' },
  { scenario: 'resume-reconnect', session: 'new' },
  { scenario: 'disconnect-signal-on-resume', session: 'same' },
  { scenario: 'disconnect-signal-on-resume-no-messages', session: 'same' },
  { scenario: 'full-reconnect', session: 'new' },
  { scenario: 'node-failure', session: 'new' },
  { scenario: 'migration', session: 'new' },
  { scenario: 'force-tcp', session: 'new' },
  { scenario: 'force-tls', session: 'new' },
];

for (const { scenario, session } of SCENARIOS) {
  test(`after the scenario ${scenario} a client goes on with the ${session} session`, async () => {
    for (const name of NAMES) {
      const before = await sid(name);
      await forget(name);
      await clients[name].get({ code: `room.simulateScenario('${scenario}')` });
      await goesOn(name, session, before);
    }
  });
}

test('the scenarios without a reconnect leave the session alone', async () => {
  const before = await both(sid);
  await both(async (name) => {
    await forget(name);
    await clients[name].get({ code: `room.simulateScenario('subscriber-bandwidth', 100000)` });
    await clients[name].get({ code: `room.simulateScenario('leave-full-reconnect')` });
    await clients[name].get({ code: `room.simulateScenario('speaker')` });
    await clients[name].event({ name: 'activeSpeakersChanged' });
  });
  assert.deepEqual(await both(sid), before);
  await sounds();
});

test('a message that is sent while somebody joins arrives', async () => {
  const joiner = await browser.participant('joiner');
  await clients.single.count({ name: 'single', every: 10 });
  await joiner.join({ url: server.ws, token: await server.token('joiner', 'reconnect') });
  const atJoined = await clients.single.counted();
  const sent = await clients.single.hush();
  await joiner.received({ text: `single:${sent - 1}` });
  const got = await joiner.get({ code: `state.data.filter((one) => one.topic === 'count').map((one) => Number(one.text.split(':')[1]))` });
  assert.ok(got[0] < atJoined - 3, `${got[0]} was the first to arrive, ${atJoined} had been sent when the join was done`);
  assert.deepEqual(got, Array.from({ length: sent - got[0] }, (_, index) => got[0] + index));
  await joiner.leave();
});

test('somebody whose network is gone is seen to leave after twenty seconds', async (t) => {
  const took = await lost;
  t.diagnostic(`${(took / 1000).toFixed(1)} s`);
  assert.ok(took > 18_000 && took < 25_000, `it took ${took.toFixed(0)} ms`);
  assert.equal(await watcher.get({ code: `self.reasons['victim']` }), 'CONNECTION_TIMEOUT');
});

test('the scenario server-leave ends the session for good', async () => {
  await both(async (name) => {
    await clients[name].get({ code: `room.simulateScenario('server-leave')` });
    await clients[name].holds({ code: `state.disconnected === 'SERVER_SHUTDOWN' && room.state === 'disconnected'` });
  });
});
