// The live tests that the Python SDK ships, unmodified, against our server (see README.md).
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { here, runPytest } from '../lib/suite.mjs';
import { startServer } from '../lib/server.mjs';

let server;
before(async () => (server = await startServer()));
after(() => server?.stop());

test('the live tests of the Python SDK pass', async (t) => {
  const files = (await readdir(here('../suites/python/fetched/tests'))).filter((name) => /^test_.*\.py$/.test(name)).sort();
  let count = 0;
  // A process for each file: one of them ends the SDK's runtime, after which nothing connects.
  for (const file of files) {
    count += await runPytest(t, server, `fetched/tests/${file}`);
  }
  assert.ok(count >= 80, `only ${count} tests passed`);
});
