// Calls of the server's API to methods of stock clients (RoomService.PerformRpc).
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { node, python, startBrowser } from '../lib/clients.mjs';
import { startServer } from '../lib/server.mjs';

const ROOM = 'callees';
let server;
let browser;
let admin;
const callees = {};

/** Status and body of one call, as JSON. */
async function perform(destination_identity, method, payload, more = {}) {
  const answer = await fetch(`${server.http}/twirp/livekit.RoomService/PerformRpc`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${admin}` },
    body: JSON.stringify({ room: ROOM, destination_identity, method, payload, ...more }),
  });
  return [answer.status, await answer.json()];
}

const failed = (status, code, msg) => [status, { code, msg }];

before(async () => {
  server = await startServer();
  browser = await startBrowser();
  admin = await server.token('api', ROOM, { roomJoin: false, roomAdmin: true });
  callees.single = await browser.participant('single');
  callees.dual = await browser.participant('dual');
  callees.python = python();
  callees.node = node();
  for (const [identity, client] of Object.entries(callees)) {
    const options = identity === 'dual' ? { singlePeerConnection: false } : {};
    await client.join({ url: server.ws, token: await server.token(identity, ROOM), options });
    await client.serve();
  }
});

after(async () => {
  for (const client of Object.values(callees)) await client.stop();
  await browser?.stop();
  await server?.stop();
});

for (const name of ['single', 'dual', 'python', 'node']) {
  test(`the API calls methods of the ${name} client and gets answers and errors`, async () => {
    const [status, { payload }] = await perform(name, 'echo', 'api');
    assert.equal(status, 200);
    // Whoever calls through the API has no identity: the client is told one that nobody has.
    assert.match(payload, /^[0-9a-f-]{36} said api$/);
    assert.deepEqual(await perform(name, 'fail', 'api'), failed(500, 'internal', 'RpcError 101: no such dish: soup'));
    assert.deepEqual(await perform(name, 'nope', 'api'), failed(400, 'invalid_argument', 'RpcError 1400: Method not supported at destination'));
    assert.deepEqual(await perform(name, 'echo', 'z'.repeat(15361)), failed(400, 'invalid_argument', 'RpcError 1402: Request payload too large'));
    assert.deepEqual(await perform(name, 'silent', '', { response_timeout_ms: 1000 }), failed(408, 'canceled', 'RpcError 1502: Response timeout'));
  });
}

test('a client that leaves ends the calls to it at once', async () => {
  const began = Date.now();
  // The answer to the second call proves that the first one reached the client before it leaves.
  const waiting = perform('dual', 'silent', '');
  await perform('dual', 'echo', '');
  await callees.dual.leave();
  assert.deepEqual(await waiting, failed(503, 'unavailable', 'RpcError 1503: Recipient disconnected'));
  assert.ok(Date.now() - began < 2500, 'there is no wait for another server');
});
