// A WebRTC stack that no SDK and no browser uses: data, sound and pictures between it and stock clients.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { startBrowser, werift } from '../lib/clients.mjs';
import { startServer } from '../lib/server.mjs';

const TONE = 870;
const COLOUR = [40, 40, 210];
let server;
let browser;
let stock;
let odd;

async function join(client, name) {
  await client.join({ url: server.ws, token: await server.token(name, 'werift'), options: { singlePeerConnection: false } });
}

before(async () => {
  server = await startServer();
  browser = await startBrowser();
  [stock, odd] = [await browser.participant('stock'), werift()];
  await join(stock, 'stock');
  await join(odd, 'werift');
  // Clients name the sender of data only once they were told of it.
  await stock.present({ identity: 'werift' });
  await odd.present({ identity: 'stock' });
});

after(async () => {
  await odd?.stop();
  await browser?.stop();
  await server?.stop();
});

for (const reliable of [true, false]) {
  test(`${reliable ? 'reliable' : 'lossy'} data passes both ways`, async () => {
    const kind = reliable ? 'reliable' : 'lossy';
    for (const [a, b, from] of [[odd, stock, 'werift'], [stock, odd, 'stock']]) {
      const text = `${kind} of ${from}`;
      await a.send({ text, reliable });
      assert.equal((await b.received({ text })).from, from);
    }
  });
}

test('sound and picture of a stock client come back from it', async () => {
  await odd.publish();
  await stock.publish({ tone: TONE, colour: COLOUR });
  await stock.heard({ from: 'werift', tone: TONE });
  await stock.saw({ from: 'werift', colour: COLOUR });
});

test('who joins late hears, sees and reads it too', async () => {
  const late = await browser.participant('late');
  await join(late, 'late');
  await late.heard({ from: 'werift', tone: TONE });
  await late.saw({ from: 'werift', colour: COLOUR });
  await odd.send({ text: 'to all', reliable: true });
  assert.equal((await late.received({ text: 'to all' })).from, 'werift');
  await late.stop();
});

test('who joins late with it hears and reads others', async () => {
  const second = werift();
  await join(second, 'second');
  await stock.send({ text: 'to the second', reliable: true });
  assert.equal((await second.received({ text: 'to the second' })).from, 'stock');
  await second.stop();
});

test('that it leaves is told to others and is nothing to complain of', async () => {
  const before = server.log.length;
  await odd.leave();
  await stock.gone({ identity: 'werift' });
  const complaints = server.log.slice(before).filter((line) => /\b(WARN|ERROR)\b/.test(line));
  assert.deepEqual(complaints, []);
});
