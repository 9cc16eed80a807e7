// Runs the live tests that an SDK ships, unmodified, against our server (see README.md).
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { judge, pytest, vitest } from './judge.mjs';
import { KEY, SECRET } from './server.mjs';

export const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** Runs pytest on a file. `t` is the test that does so. */
export const runPytest = (t, server, file) =>
  run(t, server, '../suites/python', here('../.venv/bin/pytest'), (report) => [`--junitxml=${report}`, file], pytest);

/** Runs vitest. `t` is the test that does so. */
export const runVitest = (t, server) =>
  run(
    t,
    server,
    '../suites/node',
    here('../node_modules/.bin/vitest'),
    (report) => ['run', '--reporter=default', '--reporter=json', `--outputFile=${report}`],
    vitest,
  );

/** Runs a test runner against a server; gives how many tests passed, and fails when its report says so. */
async function run(t, server, folder, program, args, read) {
  const env = { ...process.env, NO_COLOR: '1', LIVEKIT_URL: server.ws, LIVEKIT_API_KEY: KEY, LIVEKIT_API_SECRET: SECRET };
  // The runner must not take itself for a part of this test run.
  delete env.NODE_TEST_CONTEXT;
  const scratch = await mkdtemp(join(tmpdir(), 'plenum-suite-'));
  const file = join(scratch, 'report');
  const child = spawn(program, args(file), { cwd: here(folder), env, stdio: ['ignore', 'pipe', 'pipe'] });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (printed += data));
  // A runner that hangs would keep this process waiting for its pipes.
  const stop = () => child.kill('SIGKILL');
  process.once('exit', stop);
  const [code, signal] = await once(child, 'close');
  process.off('exit', stop);
  const report = await readFile(file, 'utf8').catch(() => undefined);
  await rm(scratch, { recursive: true, force: true });
  const { passed, problem, note } = judge(read(report, printed), { code, signal });
  if (note) t.diagnostic(`${args(file).at(-1)}: ${note}\n${printed.slice(-2000)}`);
  assert.equal(problem, undefined, `${problem}\n${printed.slice(-8000)}`);
  return passed;
}
