// How the suites of SDKs are judged, by reports as their runners write them.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { judge, pytest, vitest } from '../lib/judge.mjs';

const OK = { code: 0, signal: null };
const ABORT = { code: null, signal: 'SIGABRT' };

const junit = (...cases) =>
  `<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="pytest" tests="${cases.length}">${cases.join('')}</testsuite></testsuites>\n`;
const passes = (name) => `<testcase classname="fetched.tests.test_a" name="${name}" time="0.1" />`;
const skips = (name) =>
  `<testcase classname="fetched.tests.test_a" name="${name}" time="0.1"><skipped type="pytest.skip" message="no &gt; reason">a:1</skipped></testcase>`;
const fails = (name, kind = 'failure') =>
  `<testcase classname="fetched.tests.test_a" name="${name}" time="0.1"><${kind} message="assert 1 &gt; 2">trace</${kind}></testcase>`;

test('a complete pytest report passes, and an abort behind it is only told', () => {
  const report = pytest(junit(passes('one'), passes('two[a&gt;b]'), skips('three')), 'collected 3 items\n');
  assert.deepEqual(judge(report, OK), { problem: undefined, note: undefined, passed: 2 });
  const { problem, note, passed } = judge(report, ABORT);
  assert.deepEqual([problem, passed], [undefined, 2]);
  assert.equal(note, 'all 3 tests were reported, then the process was ended by SIGABRT');
});

test('what the runner or others say against a complete report counts', () => {
  const report = pytest(junit(passes('one')), 'collected 1 item\n');
  for (const end of [{ code: 1, signal: null }, { code: 134, signal: null }, { code: null, signal: 'SIGKILL' }, { code: null, signal: 'SIGTERM' }]) {
    assert.match(judge(report, end).problem, /the report is green; the runner (ended with code|was ended by)/);
  }
});

test('an abort before the report is complete fails', () => {
  const whole = junit(passes('one'), passes('two'));
  for (const xml of [undefined, '', whole.slice(0, whole.length / 2)]) {
    assert.match(judge(pytest(xml, 'collected 2 items\n'), ABORT).problem, /^no report; the runner was ended by SIGABRT/);
  }
  const missing = pytest(junit(passes('one')), 'collected 2 items\n');
  for (const end of [OK, ABORT]) assert.match(judge(missing, end).problem, /^1 of 2 tests are reported/);
});

test('a failed test fails, whatever the process says', () => {
  for (const kind of ['failure', 'error']) {
    const report = pytest(junit(passes('one'), fails('two', kind)), 'collected 2 items\n');
    for (const end of [OK, ABORT, { code: 1, signal: null }]) {
      assert.match(judge(report, end).problem, /^failed: fetched\.tests\.test_a::two/);
    }
  }
  // A test that passed and whose clean-up failed.
  const report = pytest(junit(passes('one'), fails('one', 'error')), 'collected 1 item\n');
  assert.match(judge(report, OK).problem, /^failed: /);
});

test('no tests are no success', () => {
  assert.match(judge(pytest(junit(), 'collected 0 items\n'), OK).problem, /^no tests/);
  assert.match(judge(pytest(junit(passes('one')), ''), OK).problem, /^no tests/);
  assert.match(judge(vitest('{"numTotalTests":0,"success":true,"testResults":[]}'), OK).problem, /^no tests/);
});

test('tests that were deselected are not awaited', () => {
  const printed = 'collected 3 items / 2 deselected / 1 selected\n';
  assert.equal(judge(pytest(junit(passes('one')), printed), OK).problem, undefined);
});

test('a vitest report is judged alike', () => {
  const file = (status, ...statuses) => ({
    name: '/a.test.ts',
    status,
    assertionResults: statuses.map((status) => ({ fullName: 'same name', status })),
  });
  const report = (success, numTotalTests, ...testResults) => vitest(JSON.stringify({ success, numTotalTests, testResults }));
  const green = report(true, 3, file('passed', 'passed', 'passed', 'pending'));
  assert.deepEqual(judge(green, OK), { problem: undefined, note: undefined, passed: 2 });
  assert.match(judge(green, ABORT).note, /^all 3 tests were reported/);
  assert.match(judge(green, { code: 1, signal: null }).problem, /^the report is green/);
  assert.match(judge(report(false, 2, file('failed', 'passed', 'failed')), OK).problem, /^failed: .*same name/);
  assert.match(judge(report(false, 1, file('passed', 'passed'), file('failed')), OK).problem, /^failed: \/a\.test\.ts/);
  assert.match(judge(report(false, 1, file('passed', 'passed')), OK).problem, /^failed: the whole run/);
  assert.match(judge(report(true, 2, file('passed', 'passed')), ABORT).problem, /^1 of 2 tests are reported/);
  assert.match(judge(vitest('{"numTotalTests":2,"tes'), ABORT).problem, /^no report/);
});
