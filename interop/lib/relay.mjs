// A UDP relay between clients and the server: loses packets by a seeded draw, narrows the way to the
// clients, and reads the RTP
// headers that SRTP leaves in the clear to check what the server sends (sequence numbers
// contiguous, timestamps never going back) and of which payload types packets are.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';

/** A small seeded generator (mulberry32): the same seed loses the same packets. */
function random(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = a;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const isRtp = (data) => data.length >= 12 && data[0] >> 6 === 2 && !(data[1] >= 192 && data[1] <= 223);

/** What one outgoing stream of the server did, by SSRC, before any loss of the relay. */
class StreamCheck {
  packets = 0;
  gaps = [];
  backwards = [];

  take(data) {
    const sequence = data.readUInt16BE(2);
    const timestamp = data.readUInt32BE(4);
    this.packets++;
    if (this.sequence !== undefined) {
      const step = (sequence - this.sequence) & 0xffff;
      if (step !== 1) this.gaps.push([this.sequence, sequence]);
      const forward = (timestamp - this.timestamp) >>> 0;
      if (forward >= 0x80000000) this.backwards.push([this.timestamp, timestamp]);
    }
    this.sequence = sequence;
    this.timestamp = timestamp;
  }
}

/** What a bottleneck holds at most before it drops: 300 ms, as routers at home do. */
const BOTTLENECK_MS = 300;

/** A link of `rate` bit/s with a queue in front of it: packets leave in order, those that find it full are dropped. */
class Bottleneck {
  queue = [];
  free = 0;

  constructor(rate) {
    this.rate = rate;
  }

  /** Calls `send` when the packet has passed; false when it was dropped. */
  take(bytes, send) {
    const now = performance.now();
    const start = Math.max(now, this.free);
    if (start - now > BOTTLENECK_MS) return false;
    this.free = start + (bytes * 8 * 1000) / this.rate;
    this.queue.push({ due: this.free, send });
    if (this.queue.length === 1) this.wait();
    return true;
  }

  wait() {
    setTimeout(() => {
      while (this.queue[0]?.due <= performance.now()) this.queue.shift().send();
      if (this.queue.length) this.wait();
    }, this.queue[0].due - performance.now());
  }
}

/** Starts a relay in front of `target` (a UDP port of the loopback interface). */
export async function startRelay(target, { loss = 0, seed = 1 } = {}) {
  const front = createSocket({ type: 'udp4', recvBufferSize: 1 << 22 }).bind(0, '127.0.0.1');
  await once(front, 'listening');
  const backs = new Map();
  const draw = random(seed);
  const stats = { up: 0, down: 0, lostUp: 0, lostDown: 0 };
  const streams = new Map();
  const payloadTypes = new Map();
  const note = (data) => {
    const ssrc = data.readUInt32BE(8);
    if (!payloadTypes.has(ssrc)) payloadTypes.set(ssrc, new Set());
    payloadTypes.get(ssrc).add(data[1] & 0x7f);
  };
  const late = new Map();
  let bottleneck;
  let dead = false;
  const relay = {
    port: front.address().port,
    stats,
    /** Checks of the server's outgoing streams by SSRC. */
    streams,
    /** Payload types of packets either way, by SSRC. */
    payloadTypes,
    /** Milliseconds by which packets to the server are late, by SSRC. */
    late,
    /** Changes the loss from now on. */
    setLoss: (value) => (loss = value),
    /** Lets no more than `rate` bit/s through to the clients from now on. */
    narrow: (rate) => (bottleneck = new Bottleneck(rate)),
    /** Goes on from other ports: the server sees the clients' addresses change. */
    rebind() {
      for (const back of backs.values()) back.close();
      backs.clear();
    },
    /** Passes nothing any more, in either direction. */
    cut: () => (dead = true),
    async stop() {
      dead = true;
      for (const back of backs.values()) back.close();
      front.close();
      await once(front, 'close');
    },
  };
  front.on('message', (data, from) => {
    if (dead) return;
    const key = `${from.address}:${from.port}`;
    let back = backs.get(key);
    if (!back) {
      back = createSocket({ type: 'udp4', recvBufferSize: 1 << 22 });
      back.on('message', (answer) => {
        if (dead) return;
        stats.down++;
        if (isRtp(answer)) {
          const ssrc = answer.readUInt32BE(8);
          if (!streams.has(ssrc)) streams.set(ssrc, new StreamCheck());
          streams.get(ssrc).take(answer);
          note(answer);
          if (draw() < loss) return void stats.lostDown++;
        }
        const send = () => dead || front.send(answer, from.port, from.address);
        if (!bottleneck) send();
        else if (!bottleneck.take(answer.length, send)) stats.lostDown++;
      });
      backs.set(key, back);
    }
    stats.up++;
    if (isRtp(data)) {
      note(data);
      if (draw() < loss) return void stats.lostUp++;
      const wait = late.get(data.readUInt32BE(8));
      if (wait) return void setTimeout(() => dead || back.send(data, target, '127.0.0.1'), wait);
    }
    back.send(data, target, '127.0.0.1');
  });
  return relay;
}

/**
 * Makes a page's peer connections reach the server through the relay: run before the page loads.
 * `window.relayPort` names the relay that descriptions from now on lead to.
 */
export function throughRelay([server, relay]) {
  window.relayPort = relay;
  const swap = (text) => text.replaceAll(` ${server} typ `, ` ${window.relayPort} typ `);
  const remember = (sdp) => {
    window.repairs ??= new Set();
    for (const [, , repair] of sdp.matchAll(/a=ssrc-group:FID (\d+) (\d+)/g)) window.repairs.add(Number(repair));
  };
  const set = RTCPeerConnection.prototype.setRemoteDescription;
  RTCPeerConnection.prototype.setRemoteDescription = function (description) {
    remember(description.sdp ?? '');
    return set.call(this, { type: description.type, sdp: swap(description.sdp ?? '') });
  };
  const add = RTCPeerConnection.prototype.addIceCandidate;
  RTCPeerConnection.prototype.addIceCandidate = function (candidate) {
    const plain = candidate?.toJSON?.() ?? candidate;
    return add.call(this, plain?.candidate ? { ...plain, candidate: swap(plain.candidate) } : plain);
  };
}
