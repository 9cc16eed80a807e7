// What a room's options change for stock clients: one stream for a participant's sound and picture.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { startBrowser } from '../lib/clients.mjs';
import { startServer } from '../lib/server.mjs';

const BLUE = [40, 40, 210];
let server;
let chromium;
let listener;

before(async () => {
  server = await startServer({ config: 'room:\n  sync_streams: true\n' });
  chromium = await startBrowser();
  const publisher = await chromium.participant('publisher');
  listener = await chromium.participant('listener');
  for (const [name, client] of [['publisher', publisher], ['listener', listener]]) {
    await client.join({ url: server.ws, token: await server.token(name, 'options') });
  }
  await publisher.publish({ tone: 440, colour: BLUE, audio: { red: false } });
});

after(async () => {
  await chromium?.stop();
  await server?.stop();
});

test('sound and picture of a participant are found in one stream', async () => {
  await Promise.all([listener.heard({ from: 'publisher', tone: 440 }), listener.saw({ from: 'publisher', colour: BLUE })]);
  const [sound, picture] = await Promise.all(['audio', 'video'].map((kind) => listener.arrival({ from: 'publisher', kind })));
  assert.equal(sound.stream, picture.stream);
  assert.match(sound.stream, /^PA_\w+\|camera$/);
  assert.notEqual(sound.sid, picture.sid);
});
