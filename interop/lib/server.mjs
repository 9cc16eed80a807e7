// Starts the server under test on free ports of the loopback interface and stops it again.
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { AccessToken, RoomServiceClient } from 'livekit-server-sdk';

export const KEY = 'devkey';
export const SECRET = 'secret-for-tests-of-at-least-32-characters';
const BINARY = process.env.PLENUM_BIN ?? fileURLToPath(new URL('../../target/fast/plenum', import.meta.url));

/** A TCP port that was free a moment ago. */
async function freeTcpPort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** A UDP port that was free a moment ago. */
async function freeUdpPort() {
  const socket = createSocket('udp4').bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  await once(socket, 'close');
  return port;
}

/**
 * Starts a server. `config` holds further YAML lines; `args` further arguments; `ports` asks for a
 * range of so many UDP ports instead of one.
 * Resolves when it answers its health check; rejects when it ends first.
 */
export async function startServer({ config = '', args = [], rtc = '', ports = 0 } = {}) {
  // Side by side, so that no port is given twice.
  const [port, metrics, udp] = await Promise.all([freeTcpPort(), freeTcpPort(), freeUdpPort()]);
  const body = `port: ${port}
bind_addresses: ["127.0.0.1"]
prometheus:
  port: ${metrics}
keys:
  ${KEY}: ${SECRET}
rtc:
  ${ports ? `port_range_start: ${udp}\n  port_range_end: ${udp + ports}` : `udp_port: ${udp}`}
  tcp_port: 0
  node_ip: 127.0.0.1
  use_external_ip: false
  enable_loopback_candidate: true
${rtc}
${config}`;
  const child = spawn(BINARY, ['--config-body', body, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const log = [];
  const base = `http://127.0.0.1:${port}`;
  await new Promise((resolve, reject) => {
    let ready = false;
    // Every line of output is a moment at which the server may have become ready.
    const line = async (text) => {
      log.push(text);
      if (process.env.SERVER_LOG) console.error(`server: ${text}`);
      if (ready) return;
      const answer = await fetch(base).catch(() => undefined);
      if (answer) {
        ready = true;
        resolve();
      }
    };
    createInterface({ input: child.stdout }).on('line', line);
    createInterface({ input: child.stderr }).on('line', line);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`the server ended with code ${code} before it was ready:\n${log.join('\n')}`)));
  });
  return {
    http: base,
    ws: `ws://127.0.0.1:${port}`,
    udp,
    port,
    pid: child.pid,
    log,
    api: new RoomServiceClient(base, KEY, SECRET),
    token: (identity, room, grants = {}, options = {}) => token(identity, room, grants, options),
    /** A counter without labels of its own, as exported now. */
    async metric(name) {
      const text = await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text();
      return Number(text.match(new RegExp(`^${name}\\{[^}]*\\} (\\d+)$`, 'm'))[1]);
    },
    /** True as long as the process has not ended. */
    alive: () => child.exitCode === null && child.signalCode === null,
    async stop() {
      child.removeAllListeners('exit');
      if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
      const [code] = await once(child, 'exit');
      clearTimeout(timer);
      // A media thread catches panics and goes on: whatever else a test saw, that is a fault.
      const panic = log.find((text) => text.includes('panicked at') || text.includes('caught a panic'));
      if (panic) throw new Error(`the server panicked: ${panic}`);
      return code;
    },
  };
}

/** A join token. */
export async function token(identity, room, grants = {}, options = {}) {
  const access = new AccessToken(KEY, SECRET, { identity, name: identity, ttl: '1h', ...options });
  access.addGrant({ roomJoin: true, room, ...grants });
  return access.toJwt();
}
