// Two stock browsers, one with a single peer connection and one with two, over the life of a session: signal loss,
// full reconnects, tracks that come and go, mute, metadata, RPC, text streams, removal.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { startBrowser } from '../lib/clients.mjs';
import { startServer } from '../lib/server.mjs';

const ROOM = 'sessions';
const LOOKS = {
  single: { tone: 440, colour: [200, 30, 30] },
  dual: { tone: 870, colour: [30, 160, 30] },
};
let server;
let browser;
const clients = {};

before(async () => {
  server = await startServer();
  browser = await startBrowser();
  for (const name of ['single', 'dual']) {
    clients[name] = await browser.participant(name);
    const options = { singlePeerConnection: name === 'single' };
    await clients[name].join({ url: server.ws, token: await server.token(name, ROOM), options });
    await clients[name].publish(LOOKS[name]);
  }
  await flows();
});

after(async () => {
  await browser?.stop();
  await server?.stop();
});

const other = (name) => (name === 'single' ? 'dual' : 'single');

/** New frames and the right tone, both ways. */
async function flows() {
  await Promise.all(
    Object.keys(clients).flatMap((name) => [
      clients[name].decoded({ from: other(name), more: 20 }),
      clients[name].heard({ from: other(name), tone: LOOKS[other(name)].tone }),
    ]),
  );
}

/** Runs a scenario of the client and waits until it is connected again. */
async function simulate(name, scenario) {
  const { page } = clients[name];
  const sid = () => page.evaluate(() => window.room.localParticipant.sid);
  const before = await sid();
  await page.evaluate(async (what) => {
    window.state.events.splice(0);
    await window.room.simulateScenario(what);
    await window.until(() => (window.state.events.includes('reconnected') && window.room.state === 'connected') || undefined);
  }, scenario);
  return { before, after: await sid(), events: await page.evaluate(() => [...window.state.events]) };
}

for (const name of ['single', 'dual']) {
  test(`the ${name} client resumes after losing its signal connection and keeps its sid`, async () => {
    const { before, after, events } = await simulate(name, 'signal-reconnect');
    assert.equal(after, before);
    assert.ok(!events.includes('participantDisconnected'), 'nobody left meanwhile');
    await flows();
  });

  test(`the ${name} client comes back with a new session`, async () => {
    const { before, after } = await simulate(name, 'full-reconnect');
    assert.notEqual(after, before);
    await flows();
  });

  test(`tracks of the ${name} client come back after being unpublished`, async () => {
    await clients[name].page.evaluate(async () => {
      for (const one of [...window.room.localParticipant.trackPublications.values()]) {
        await window.room.localParticipant.unpublishTrack(one.track);
      }
    });
    await clients[other(name)].page.evaluate(
      (from) => window.until(() => window.room.remoteParticipants.get(from).trackPublications.size === 0 || undefined),
      name,
    );
    await clients[name].publish(LOOKS[name]);
    await flows();
  });

  test(`tracks of the ${name} client that are unpublished and published again at once come back`, async () => {
    // Nothing is awaited in between: one offer stops the old sections and has the new ones, and the announcements wait for it.
    const old = await clients[name].page.evaluate(async () => {
      const before = [...window.room.localParticipant.trackPublications.values()];
      const again = before.map(({ track, options, source }) => {
        const { mediaStreamTrack } = track;
        const gone = window.room.localParticipant.unpublishTrack(track, false);
        return [gone, window.room.localParticipant.publishTrack(mediaStreamTrack, { ...options, source })];
      });
      await Promise.all(again.flat());
      return before.map(({ trackSid }) => trackSid);
    });
    await clients[other(name)].page.evaluate(
      ({ from, gone }) =>
        window.until(() => {
          const now = [...window.room.remoteParticipants.get(from).trackPublications.values()];
          return (now.length === gone.length && now.every((one) => one.track && !gone.includes(one.trackSid))) || undefined;
        }),
      { from: name, gone: old },
    );
    await flows();
  });

  test(`the ${name} client unsubscribes and subscribes again`, async () => {
    await clients[name].page.evaluate(async (from) => {
      const all = () => [...window.room.remoteParticipants.get(from).trackPublications.values()];
      all().forEach((one) => one.setSubscribed(false));
      await window.until(() => all().every((one) => !one.track) || undefined);
      all().forEach((one) => one.setSubscribed(true));
    }, other(name));
    await flows();
  });
}

test('mute and unmute reach the other client', async () => {
  const muted = (want) =>
    clients.dual.page.evaluate(
      (wanted) =>
        window.until(
          () => [...window.room.remoteParticipants.get('single').trackPublications.values()].every((one) => one.isMuted === wanted) || undefined,
        ),
      want,
    );
  const all = (what) =>
    clients.single.page.evaluate(async (method) => {
      for (const one of window.room.localParticipant.trackPublications.values()) await one[method]();
    }, what);
  await all('mute');
  await muted(true);
  await all('unmute');
  await muted(false);
  await flows();
});

test('metadata set by the api reaches the clients', async () => {
  await server.api.updateRoomMetadata(ROOM, 'of the room');
  await server.api.updateParticipant(ROOM, 'single', { metadata: 'of single', name: 'Single' });
  await clients.dual.page.evaluate(() =>
    window.until(
      () => (window.room.metadata === 'of the room' && window.room.remoteParticipants.get('single').metadata === 'of single') || undefined,
    ),
  );
});

test('a client calls a method of the other one', async () => {
  await clients.single.page.evaluate(() => window.room.registerRpcMethod('greet', async ({ payload }) => `hello ${payload}`));
  const answer = await clients.dual.page.evaluate(() =>
    window.room.localParticipant.performRpc({ destinationIdentity: 'single', method: 'greet', payload: 'dual' }),
  );
  assert.equal(answer, 'hello dual');
});

test('a long text stream arrives whole', async () => {
  await clients.single.page.evaluate(() =>
    window.room.registerTextStreamHandler('long', async (reader) => (window.streamed = await reader.readAll())),
  );
  await clients.dual.page.evaluate(() => window.room.localParticipant.sendText('long '.repeat(20_000), { topic: 'long' }));
  // Chat messages end up in the page's state, so they wake `until` up.
  await clients.dual.send({ text: 'after the stream', reliable: true });
  await clients.single.received({ text: 'after the stream' });
  const length = await clients.single.page.evaluate(() => window.until(() => window.streamed?.length));
  assert.equal(length, 100_000);
});

test('data packets of 60 KB arrive both ways', async () => {
  for (const name of ['single', 'dual']) {
    const text = `${name} `.repeat(Math.floor(60_000 / (name.length + 1)));
    await clients[name].send({ text, reliable: true });
    assert.equal((await clients[other(name)].received({ text })).from, name);
  }
});

for (const name of ['single', 'dual']) {
  test(`frames of a data track of the ${name} client arrive`, async () => {
    await clients[other(name)].page.evaluate(() => {
      window.frame = undefined;
      window.room.on('dataTrackPublished', async (track) => {
        const { value } = await track.subscribe().getReader().read();
        window.frame = new TextDecoder().decode(value.payload);
      });
    });
    const { page } = clients[name];
    await page.evaluate(async (from) => {
      window.track = await window.room.localParticipant.publishDataTrack({ name: `sensor of ${from}` });
      // Frames before the subscription are nobody's: one is sent with every tick of the clock.
      window.ticking = setInterval(() => window.track.tryPush({ payload: new TextEncoder().encode(`from ${from}`) }), 50);
    }, name);
    const frame = await clients[other(name)].page.evaluate(() => window.until(() => window.frame));
    assert.equal(frame, `from ${name}`);
    await page.evaluate(() => {
      clearInterval(window.ticking);
      return window.track.unpublish();
    });
  });
}

test('a removed client leaves and a deleted room ends', async () => {
  await server.api.removeParticipant(ROOM, 'single');
  await clients.dual.gone({ identity: 'single' });
  await server.api.deleteRoom(ROOM);
  await clients.dual.page.evaluate(() => window.until(() => window.room.state === 'disconnected' || undefined));
});
