// The stock clients as participants with one vocabulary:
//
//   join({url, token, options})          connect
//   publish({tone, colour})              a sine tone and a one-colour picture
//   heard({from, tone})                  resolves when that tone comes from that participant
//   saw({from, colour})                  resolves when that colour comes from that participant
//   send({text, reliable, to})           a data packet
//   received({text})                     resolves with {from, text} when it arrived
//   serve()                              takes streams, calls and data tracks from now on (see participants/data.js)
//   sendText, sendBytes, rpc, publishDataTrack, got
//   present / gone({identity})           resolves when somebody is there / has left
//   leave(), stop()
//
// Every waiting command ends with the test's own time-out, and then says what was observed.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { createServer } from 'node:http';
import { readFile, mkdtemp, rm } from 'node:fs/promises';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import puppeteer from 'puppeteer-core';
import { throughRelay } from './relay.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** Fails with what the participant knows when `promise` takes too long. */
async function within(ms, what, promise, observe) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(async () => {
      const seen = await Promise.race([observe().catch(String), new Promise((done) => setTimeout(done, 2000, 'no answer'))]);
      reject(new Error(`${what} did not happen within ${ms} ms; observed: ${JSON.stringify(seen).slice(0, 3000)}`));
    }, ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A participant as an object with a method for every command. */
export function participant(kind, call, stop) {
  const methods = { kind, stop };
  return new Proxy(methods, {
    get(target, name) {
      if (name in target || typeof name === 'symbol' || name === 'then') return target[name];
      return (args = {}, ms = 30_000) =>
        within(ms, `${kind}: ${name} ${JSON.stringify(args).slice(0, 200)}`, call(name, args), () => call('state', {}));
    },
  });
}

function process_(kind, program, args) {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', process.env.CLIENT_LOG ? 'inherit' : 'ignore'] });
  const waiting = new Map();
  let count = 0;
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (!line.startsWith('{')) return;
    const { id, value, error } = JSON.parse(line);
    const [resolve, reject] = waiting.get(id) ?? [];
    waiting.delete(id);
    if (error) reject?.(new Error(error));
    else resolve?.(value);
  });
  child.once('exit', (code, signal) => {
    for (const [, reject] of waiting.values()) reject(new Error(`the ${kind} participant ended (${code ?? signal})`));
  });
  const call = (name, callArgs) =>
    new Promise((resolve, reject) => {
      const id = ++count;
      waiting.set(id, [resolve, reject]);
      child.stdin.write(`${JSON.stringify({ id, name, args: callArgs })}\n`);
    });
  const kill = () => child.kill('SIGKILL');
  return Object.assign(participant(kind, call, async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.stdin.end();
    const timer = setTimeout(() => child.kill('SIGKILL'), 3000);
    await once(child, 'exit');
    clearTimeout(timer);
  }), { kill });
}

/** The Python SDK. */
export const python = () => process_('python', here('../.venv/bin/python'), [here('../participants/python.py')]);

/** The Node SDK. */
export const node = () => process_('node', process.execPath, [here('../participants/node.mjs')]);

/** werift, a WebRTC stack of its own; `publish` sends back what it gets. */
export const werift = () => process_('werift', process.execPath, [here('../participants/werift.mjs')]);

const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--use-fake-ui-for-media-stream',
  '--use-fake-device-for-media-stream=fps=30', '--autoplay-policy=no-user-gesture-required', '--mute-audio',
  '--disable-background-timer-throttling', '--disable-renderer-backgrounding',
  '--disable-backgrounding-occluded-windows', '--allow-loopback-in-peer-connection',
  '--disable-features=WebRtcHideLocalIpsWithMdns',
];

const PAGE = `<!doctype html><body><script src="/livekit-client.js"></script><script src="/browser.js"></script>
<script type="module">import { dataCommands } from '/data.js'; Object.assign(commands, dataCommands(parts));</script>`;

/**
 * Makes pages negotiate a header extension that Chromium knows and leaves out unless asked (W3C
 * webrtc-extensions): for `context.addInitScript`, with the extension's URI.
 */
export function negotiatingExtension(uri) {
  for (const method of ['createOffer', 'createAnswer']) {
    const plain = RTCPeerConnection.prototype[method];
    RTCPeerConnection.prototype[method] = function (...args) {
      for (const transceiver of this.getTransceivers()) {
        const extensions = transceiver.getHeaderExtensionsToNegotiate();
        const one = extensions.find((extension) => extension.uri === uri);
        if (one && one.direction === 'stopped') {
          one.direction = 'sendrecv';
          transceiver.setHeaderExtensionsToNegotiate(extensions);
        }
      }
      return plain.apply(this, args);
    };
  }
}

/** Serves the page that participants in browsers run in, on localhost. */
async function servePage() {
  const files = {
    '/livekit-client.js': [here('../node_modules/livekit-client/dist/livekit-client.umd.js'), 'text/javascript'],
    '/e2ee-worker.js': [here('../node_modules/livekit-client/dist/livekit-client.e2ee.worker.js'), 'text/javascript'],
    '/browser.js': [here('../participants/browser.js'), 'text/javascript'],
    '/data.js': [here('../participants/data.js'), 'text/javascript'],
  };
  const server = createServer(async (request, response) => {
    const [path, type] = files[request.url] ?? [];
    if (path) response.setHeader('content-type', type);
    else response.setHeader('content-type', 'text/html');
    response.end(path ? await readFile(path) : PAGE);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { url: `http://localhost:${server.address().port}/`, stop: () => server.close() };
}

/** Chromium and the page that its participants run in. */
export async function startBrowser() {
  const served = await servePage();
  const data = await mkdtemp(join(tmpdir(), 'plenum-browser-'));
  const context = await chromium.launchPersistentContext(data, { executablePath: '/usr/bin/chromium', headless: true, args: FLAGS, viewport: { width: 1280, height: 800 } });
  return {
    context,
    /** One participant in a page of its own; `relay: [server port, relay port]` puts a relay in between. */
    async participant(kind = 'browser', { relay } = {}) {
      const page = await context.newPage();
      if (relay) await page.addInitScript(throughRelay, relay);
      if (process.env.CLIENT_LOG) page.on('console', (message) => console.error(`${kind}: ${message.text()}`));
      await page.goto(served.url);
      const call = (name, args) => page.evaluate(([n, a]) => window.commands[n](a), [name, args]);
      return Object.assign(participant(kind, call, () => page.close()), { page });
    },
    async stop() {
      await context.close();
      served.stop();
      await rm(data, { recursive: true, force: true });
    },
  };
}

/** Preferences that make Firefox's devices fake and its media reach the loopback interface. */
const FIREFOX = {
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  'media.peerconnection.ice.loopback': true,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  'media.autoplay.default': 0,
  'media.autoplay.blocking_policy': 0,
  // The fake microphone's sine, in Hz: one of the tones that tests listen for.
  'media.navigator.audio.fake_frequency': 870,
};

/** Firefox, whose ICE, DTLS and RTP are a second implementation. */
export async function startFirefox() {
  const served = await servePage();
  const browser = await puppeteer.launch({ browser: 'firefox', executablePath: '/usr/bin/firefox-esr', headless: true, extraPrefsFirefox: FIREFOX });
  return {
    /** One participant in a page of its own. */
    async participant(kind = 'firefox') {
      const page = await browser.newPage();
      if (process.env.CLIENT_LOG) page.on('console', (message) => console.error(`${kind}: ${message.text()}`));
      await page.goto(served.url);
      const call = (name, args) => page.evaluate((n, a) => window.commands[n](a), name, args);
      return Object.assign(participant(kind, call, () => page.close()), { page });
    },
    async stop() {
      await browser.close();
      served.stop();
    },
  };
}

/**
 * Joins a room in a page of its own, which is closed when the test ends. `only`: the codecs that the browser is to know of some kinds,
 * like `{ audio: ['audio/pcmu'] }`.
 */
export async function joinPage(t, browser, server, { room, identity, options = {}, only = null }) {
  const one = await browser.participant(identity);
  t.after(() => one.stop());
  if (only) await one.page.evaluate(poorer, only);
  await one.join({ url: server.ws, token: await server.token(identity, room), options });
  return one;
}

/** Makes the browser one that knows only `codecs` (and what repairs them) of some kinds. */
function poorer(codecs) {
  const keep = (kind) => {
    const known = RTCRtpReceiver.getCapabilities(kind).codecs;
    return known.filter(({ mimeType }) => [...codecs[kind], `${kind}/rtx`].includes(mimeType.toLowerCase()));
  };
  const limit = (transceiver) => {
    const { kind } = transceiver.receiver.track;
    if (codecs[kind]) transceiver.setCodecPreferences(keep(kind));
  };
  for (const name of ['createOffer', 'createAnswer']) {
    const create = RTCPeerConnection.prototype[name];
    RTCPeerConnection.prototype[name] = function (...args) {
      this.getTransceivers().forEach(limit);
      return create.apply(this, args);
    };
  }
}
