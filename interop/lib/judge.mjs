// Judges a test runner by its report. What becomes of the process behind it is another matter: a client's library may
// abort while it is unloaded, when all its tests have passed and have been reported.

/** Signals by which a process ends that aborts or crashes by itself. */
const ABORTS = ['SIGABRT', 'SIGBUS', 'SIGFPE', 'SIGILL', 'SIGSEGV', 'SIGTRAP'];

/**
 * @param report what `pytest` or `vitest` below gave; nothing when there is none
 * @param end how the process ended: `{ code, signal }`
 * @returns `problem`: why the suite failed, or nothing; `note`: what is worth telling though it passed, or nothing
 */
export function judge(report, { code, signal }) {
  const end = signal ? `was ended by ${signal}` : `ended with code ${code}`;
  const fail = (problem) => ({ problem: `${problem}; the runner ${end}`, note: undefined, passed: report?.passed ?? 0 });
  if (!report) return fail('no report');
  if (report.failed.length > 0) return fail(`failed: ${report.failed.join(', ')}`);
  if (!(report.expected > 0)) return fail('no tests');
  const reported = report.passed + report.skipped;
  if (reported !== report.expected) return fail(`${reported} of ${report.expected} tests are reported`);
  if (code === 0) return { problem: undefined, note: undefined, passed: report.passed };
  // A runner that says by its code that something is wrong is believed, whatever the report says.
  if (!ABORTS.includes(signal)) return fail('the report is green');
  return { problem: undefined, note: `all ${reported} tests were reported, then the process ${end}`, passed: report.passed };
}

/** pytest: its JUnit file, and what it printed, which says how many tests it found. */
export function pytest(xml, printed) {
  // The file is written in one go when the session is over, but a process may end in the middle of that.
  if (!xml?.trimEnd().endsWith('</testsuites>')) return undefined;
  const tests = new Map();
  for (const [, attributes, body = ''] of xml.matchAll(/<testcase\b((?:[^>"]|"[^"]*")*?)(?:\/>|>(.*?)<\/testcase>)/gs)) {
    const name = [attribute(attributes, 'classname'), attribute(attributes, 'name')].filter(Boolean).join('::');
    // A test whose clean-up fails is there twice.
    const before = tests.get(name);
    const outcome = /<(failure|error)\b/.test(body) ? 'failed' : /<skipped\b/.test(body) ? 'skipped' : 'passed';
    tests.set(name, before === 'failed' ? before : outcome);
  }
  const collected = /collected (\d+) items?(?: \/ (\d+) deselected)?/.exec(printed);
  return summary(tests, collected ? Number(collected[1]) - Number(collected[2] ?? 0) : 0);
}

/** vitest: the file of its JSON reporter. */
export function vitest(json) {
  let report;
  try {
    report = JSON.parse(json);
  } catch {
    return undefined;
  }
  const tests = new Map();
  for (const file of report.testResults ?? []) {
    const results = file.assertionResults ?? [];
    results.forEach(({ fullName, status }, index) => {
      const outcome = { passed: 'passed', pending: 'skipped', skipped: 'skipped', todo: 'skipped' }[status] ?? 'failed';
      tests.set(`${file.name}#${index} ${fullName}`, outcome);
    });
    // A file that cannot be loaded has no tests.
    if (file.status === 'failed' && results.every(({ status }) => status !== 'failed')) tests.set(file.name, 'failed');
  }
  if (report.success === false && ![...tests.values()].includes('failed')) tests.set('the whole run', 'failed');
  return summary(tests, report.numTotalTests ?? 0);
}

function summary(tests, expected) {
  const named = (outcome) => [...tests].filter(([, other]) => other === outcome).map(([name]) => name);
  return { passed: named('passed').length, skipped: named('skipped').length, failed: named('failed'), expected };
}

const attribute = (text, name) => new RegExp(`\\b${name}="([^"]*)"`).exec(text)?.[1];
