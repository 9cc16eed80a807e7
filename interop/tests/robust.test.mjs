// Bad input on every door neither ends the process nor anybody else's call.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { once } from 'node:events';
import WebSocket from 'ws';
import { node, python } from '../lib/clients.mjs';
import { startServer } from '../lib/server.mjs';

let server;
let talker;
let listener;

/** Seeded bytes (xorshift32). */
function bytes(seed, length) {
  let state = seed * 2654435761 || 1;
  return Buffer.from(Array.from({ length }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state & 255;
  }));
}

before(async () => {
  server = await startServer();
  [talker, listener] = [node(), python()];
  await talker.join({ url: server.ws, token: await server.token('talker', 'robust') });
  await listener.join({ url: server.ws, token: await server.token('listener', 'robust') });
  await talker.publish({ tone: 620, colour: [30, 160, 30] });
  await listener.heard({ from: 'talker', tone: 620 });
});

after(async () => {
  await talker?.stop();
  await listener?.stop();
  await server?.stop();
});

/** The call goes on: data passes, sound and picture are still there, the process lives. */
async function callGoesOn(mark) {
  assert.ok(server.alive(), `the server ended:\n${server.log.slice(-20).join('\n')}`);
  await talker.send({ text: mark, reliable: true });
  await listener.received({ text: mark });
  await listener.heard({ from: 'talker', tone: 620 });
  await listener.saw({ from: 'talker', colour: [30, 160, 30] });
}

test('random, truncated and mutated datagrams on the media port', async () => {
  const socket = createSocket('udp4');
  const send = (data) => new Promise((done) => socket.send(data, server.udp, '127.0.0.1', done));
  const starts = [[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42], [0x80, 111], [0x90, 96], [0x80, 200], [0x8f, 205], [22, 254, 253], [64, 0]];
  for (let i = 1; i <= 3000; i++) {
    const data = bytes(i, i % 1400);
    const start = starts[i % starts.length];
    for (let at = 0; at < start.length && at < data.length && i % 3; at++) data[at] = start[at];
    await send(data);
  }
  socket.close();
  await callGoesOn('after datagrams');
});

test('broken frames on the signal socket', async () => {
  for (let i = 1; i <= 60; i++) {
    const socket = new WebSocket(`${server.ws}/rtc?protocol=16&access_token=${await server.token(`guest${i % 7}`, 'robust')}`);
    socket.on('error', () => {});
    await Promise.race([once(socket, 'open'), once(socket, 'close')]);
    if (socket.readyState === WebSocket.OPEN) {
      if (i % 3) socket.send(bytes(i, 5 + ((i * 37) % 900)));
      else socket.send(`{"offer":{"type":"offer","sdp":${JSON.stringify(bytes(i, 300).toString('latin1'))}}}`);
      if (i % 2) socket._socket?.write(bytes(i * 3, 64));
      socket.close();
      await Promise.race([once(socket, 'close'), once(socket, 'error')]);
    }
    socket.terminate();
  }
  await callGoesOn('after frames');
});

test('broken requests on the HTTP port', async () => {
  for (let i = 1; i <= 200; i++) {
    const socket = connect(server.port, '127.0.0.1');
    socket.on('error', () => {});
    await once(socket, 'connect');
    const starts = ['', 'GET / HTTP/1.1\r\n', 'POST /twirp/livekit.RoomService/ListRooms HTTP/1.1\r\ncontent-length: 99999\r\n\r\n', 'GET /rtc?access_token='];
    socket.end(Buffer.concat([Buffer.from(starts[i % starts.length]), bytes(i, 400)]));
    await Promise.race([once(socket, 'close'), once(socket, 'data')]);
    socket.destroy();
  }
  await callGoesOn('after requests');
});
