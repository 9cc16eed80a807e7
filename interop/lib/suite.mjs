// Runs the live tests that an SDK ships, unmodified, against our server (see README.md).
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { KEY, SECRET } from './server.mjs';

export const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** Runs a test runner against a server; gives what it printed, and fails with that. */
export async function run(server, folder, program, args) {
  const env = { ...process.env, NO_COLOR: '1', LIVEKIT_URL: server.ws, LIVEKIT_API_KEY: KEY, LIVEKIT_API_SECRET: SECRET };
  // The runner must not take itself for a part of this test run.
  delete env.NODE_TEST_CONTEXT;
  const child = spawn(program, args, { cwd: here(folder), env, stdio: ['ignore', 'pipe', 'pipe'] });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (printed += data));
  // A runner that hangs would keep this process waiting for its pipes.
  const stop = () => child.kill('SIGKILL');
  process.once('exit', stop);
  const [code] = await once(child, 'close');
  process.off('exit', stop);
  assert.equal(code, 0, printed.slice(-8000));
  return printed;
}

/** How many tests a runner says that passed: both runners say it last. */
export const passed = (printed) => Number([...printed.matchAll(/(\d+) passed/g)].at(-1)?.[1] ?? 0);
