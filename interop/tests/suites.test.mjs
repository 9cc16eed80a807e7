// The live tests that the SDKs ship, unmodified, against our server (see README.md).
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { KEY, SECRET, startServer } from '../lib/server.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** Runs a test runner with a server of its own; fails with what it printed. */
async function suite(folder, program, args) {
  const server = await startServer();
  try {
    const env = { ...process.env, NO_COLOR: '1', LIVEKIT_URL: server.ws, LIVEKIT_API_KEY: KEY, LIVEKIT_API_SECRET: SECRET };
    // The runner must not take itself for a part of this test run.
    delete env.NODE_TEST_CONTEXT;
    const child = spawn(program, args, { cwd: here(folder), env, stdio: ['ignore', 'pipe', 'pipe'] });
    let printed = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (printed += data));
    const [code] = await once(child, 'close');
    assert.equal(code, 0, printed.slice(-8000));
    return printed;
  } finally {
    await server.stop();
  }
}

/** How many tests a runner says that passed: both runners say it last. */
const passed = (printed) => Number([...printed.matchAll(/(\d+) passed/g)].at(-1)?.[1] ?? 0);

test('the live tests of the Node SDK pass', { timeout: 300_000 }, async () => {
  const copy = here('../suites/node/fetched/src');
  await rm(copy, { recursive: true, force: true });
  await cp(here('../node_modules/@livekit/rtc-node/src'), copy, { recursive: true });
  const printed = await suite('../suites/node', here('../node_modules/.bin/vitest'), ['run']);
  assert.ok(passed(printed) >= 80, printed.slice(-2000));
});

test('the live tests of the Python SDK pass', { timeout: 300_000 }, async () => {
  const printed = await suite('../suites/python', here('../.venv/bin/pytest'), ['-q']);
  assert.ok(passed(printed) >= 80, printed.slice(-2000));
});
