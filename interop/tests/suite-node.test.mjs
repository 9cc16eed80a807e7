// The live tests that the Node SDK ships, unmodified, against our server (see README.md).
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { cp, rm } from 'node:fs/promises';
import { here, passed, run } from '../lib/suite.mjs';
import { startServer } from '../lib/server.mjs';

let server;
before(async () => (server = await startServer()));
after(() => server?.stop());

test('the live tests of the Node SDK pass', async () => {
  const copy = here('../suites/node/fetched/src');
  await rm(copy, { recursive: true, force: true });
  await cp(here('../node_modules/@livekit/rtc-node/src'), copy, { recursive: true });
  const printed = await run(server, '../suites/node', here('../node_modules/.bin/vitest'), ['run']);
  assert.ok(passed(printed) >= 80, printed.slice(-2000));
});
