// The live tests that the Node SDK ships, unmodified, against our server (see README.md).
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { cp, rm } from 'node:fs/promises';
import { here, runVitest } from '../lib/suite.mjs';
import { startServer } from '../lib/server.mjs';

let server;
before(async () => (server = await startServer()));
after(() => server?.stop());

test('the live tests of the Node SDK pass', async (t) => {
  const copy = here('../suites/node/fetched/src');
  await rm(copy, { recursive: true, force: true });
  await cp(here('../node_modules/@livekit/rtc-node/src'), copy, { recursive: true });
  const count = await runVitest(t, server);
  assert.ok(count >= 80, `only ${count} tests passed`);
});
