// WebRTC stacks that no LiveKit SDK is made of, as participants with the vocabulary of lib/clients.mjs.
//
// A program in stacks/ knows its stack and nothing of LiveKit. It takes JSON lines and answers each with its id:
//
//   answer({sdp})                         the subscriber's connection gets an offer; the value is its answer
//   offer({tone, colour, codec})          the publisher's connection with sound, a picture and a data channel; its offer
//   accept({sdp})                         the publisher's connection gets the server's answer
//   candidate({connection, candidate})    of the server, for `publisher` or `subscriber`; an ICE candidate of JavaScript
//   send({base64})                        over the publisher's `_reliable` channel, once that is open
//
// and tells what it decoded: {event: 'sound', mid, base64} (16 bits, mono, 48 kHz, 200 ms), {event: 'picture', mid, rgb}
// (of the middle), {event: 'data', base64}.
//
// A stack without codecs hands on RTP: {event: 'rtp', mid, base64}. Its offer gets {audio: {ssrc, payloadType}, video: …}
// instead, and it knows two more commands: rtp({mid, base64}) for the section `audio` or `video` of its publisher's
// connection, and keyframe({mid}) for one of the subscriber's.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { participant } from './clients.mjs';
import { decode, encode, withoutRedundancy } from './ffmpeg.mjs';
import { dataPacket, readDataPacket, signIn } from './signalling.mjs';
import { dominant } from './tone.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** Stacks that have no codecs of their own. */
const WITHOUT_CODECS = ['libdatachannel', 'pion'];

/** What is offered for them. */
const STREAMS = { audio: { ssrc: 1111, payloadType: 111 }, video: { ssrc: 2222, payloadType: 96 } };

/** Program and arguments of every stack. */
export const STACKS = {
  // The distribution's Python, which has the bindings.
  gstreamer: ['/usr/bin/python3', here('../stacks/gstreamer.py')],
  aiortc: [here('../.venv-aiortc/bin/python'), here('../stacks/aiortc_stack.py')],
  'aiortc-1.9': [here('../.venv-aiortc-1.9/bin/python'), here('../stacks/aiortc_stack.py')],
  libdatachannel: [process.execPath, here('../stacks/libdatachannel.mjs')],
  pion: [here('../stacks/pion/pion')],
};

/** A participant on one of the stacks. */
export function stack(kind, ...more) {
  const [program, ...args] = STACKS[kind];
  const child = spawn(program, [...args, ...more], { stdio: ['pipe', 'pipe', process.env.CLIENT_LOG ? 'inherit' : 'ignore'] });
  const one = new Stack(child, !WITHOUT_CODECS.includes(kind));
  const call = (name, args) => one[name](args);
  return participant(kind, call, () => one.stop());
}

class Stack {
  #child;
  #waiting = new Map();
  #serial = 0;
  #waiters = new Set();
  #signal;
  /** Descriptions are taken one after the other, as the stacks want it. */
  #turn = Promise.resolve();
  /** Identities by participant sid, participant sids by the subscriber's sections. */
  #identities = new Map();
  #sections = new Map();
  #seen = { tones: {}, colours: {}, pictures: {}, rtp: {}, data: [], messages: [] };

  /** What FFmpeg does for the stack: decoders by section, and what ends each thing. */
  #decoders = new Map();
  #endings = [];
  #hasCodecs;

  constructor(child, hasCodecs) {
    this.#child = child;
    this.#hasCodecs = hasCodecs;
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.startsWith('{')) this.#handleLine(JSON.parse(line));
    });
    child.once('error', (error) => this.#ended(error.message));
    child.once('exit', (code, signal) => this.#ended(`the program ended (${code ?? signal})`));
    child.stdin.on('error', () => {});
  }

  async join({ url, token }) {
    this.#signal = await signIn({ url, token }, (name, value) => this.#handleSignal(name, value));
  }

  /** Announces and sends a tone and a colour. */
  async publish({ tone, colour, codec = 'vp8' }) {
    const { sdp } = await this.#call('offer', this.#hasCodecs ? { tone, colour, codec } : STREAMS);
    if (!this.#hasCodecs) await this.#encode({ tone, colour, codec });
    const media = sdp.split(/^m=/m).slice(1).filter((section) => !section.startsWith('application'));
    for (const section of media) {
      const kind = section.startsWith('audio') ? 'audio' : 'video';
      // Some write the track's id at its SSRC only.
      const cid = section.match(/^a=msid:\S+ (\S+)/m)?.[1] ?? section.match(/^a=ssrc:\d+ msid:\S+ (\S+)/m)?.[1];
      const details = kind === 'audio' ? { type: 0, source: 2 } : { type: 1, source: 1, width: 320, height: 180 };
      this.#signal.send('addTrack', { cid: cid ?? kind, name: kind, ...details });
      await this.#until(() => this.#seen.messages.includes(`trackPublished ${cid ?? kind}`));
    }
    this.#signal.send('offer', { type: 'offer', sdp });
    await this.#until(() => this.#seen.messages.includes('answer'));
    await this.#turn;
  }

  send({ text }) {
    return this.#call('send', { base64: Buffer.from(dataPacket(text)).toString('base64') });
  }

  heard({ from, tone }) {
    return this.#until(() => this.#seen.tones[from] === tone);
  }

  saw({ from, colour }) {
    return this.#until(() => this.#seen.colours[from]?.every((value, at) => Math.abs(value - colour[at]) < 48));
  }

  /** Pictures go on: so many more of somebody's have been decoded. */
  async decoded({ from, more }) {
    const goal = (this.#seen.pictures[from] ?? 0) + more;
    await this.#until(() => this.#seen.pictures[from] >= goal);
  }

  received({ text }) {
    return this.#until(() => this.#seen.data.find((one) => one.text === text));
  }

  state() {
    return Promise.resolve({ ...this.#seen, identities: [...this.#identities], sections: [...this.#sections] });
  }

  async leave() {
    await this.#signal?.leave();
  }

  async stop() {
    await this.leave();
    for (const end of this.#endings) end();
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.stdin.end();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 3000);
    await once(this.#child, 'exit');
    clearTimeout(timer);
  }

  /** Sends what FFmpeg encodes. */
  async #encode({ tone, colour, codec }) {
    const { audio, video } = STREAMS;
    const send = (mid) => (packet) => {
      this.#call('rtp', { mid, base64: packet.toString('base64') }).catch(() => {});
    };
    this.#endings.push(await encode({ tone, codec: 'opus', ...audio }, send('audio')));
    this.#endings.push(await encode({ colour, codec, ...video }, send('video')));
  }

  /** Lets FFmpeg decode a section's packets, which begin with the given one. */
  async #decode(mid, packet) {
    const { kind, formats } = this.#sections.get(mid);
    const payloadType = packet[1] & 0x7f;
    const decoder = await decode({ codec: formats.get(payloadType), payloadType }, (bytes) => {
      clearInterval(asking);
      this.#handleLine(kind === 'audio' ? { event: 'sound', mid, base64: bytes.toString('base64') } : { event: 'picture', mid, rgb: [...bytes] });
    });
    const ask = () => this.#call('keyframe', { mid }).catch(() => {});
    // The first key frame may come before the decoder listens.
    const asking = kind === 'video' ? setInterval(ask, 500) : undefined;
    this.#endings.push(() => {
      clearInterval(asking);
      decoder.stop();
    });
    return decoder;
  }

  #handlePacket(mid, packet) {
    const key = `${mid} ${packet[1] & 0x7f}`;
    this.#seen.rtp[key] = (this.#seen.rtp[key] ?? 0) + 1;
    const codec = this.#sections.get(mid)?.formats.get(packet[1] & 0x7f);
    if (codec === 'red') return void this.#handlePacket(mid, withoutRedundancy(packet));
    if (!codec) return;
    if (!this.#decoders.has(mid)) this.#decoders.set(mid, this.#decode(mid, packet));
    this.#decoders.get(mid).then((decoder) => decoder.handlePacket(packet));
  }

  #call(name, args) {
    return new Promise((resolve, reject) => {
      const id = ++this.#serial;
      this.#waiting.set(id, [resolve, reject]);
      this.#child.stdin.write(`${JSON.stringify({ id, name, args })}\n`);
    });
  }

  #until(test) {
    return new Promise((resolve) => {
      const waiter = () => {
        const value = test();
        if (!value) return;
        this.#waiters.delete(waiter);
        resolve(value);
      };
      this.#waiters.add(waiter);
      waiter();
    });
  }

  #changed() {
    for (const waiter of [...this.#waiters]) waiter();
  }

  #ended(why) {
    for (const [, reject] of this.#waiting.values()) reject(new Error(why));
    this.#waiting.clear();
  }

  #handleLine({ id, value, error, event, mid, base64, rgb }) {
    const from = this.#identities.get(this.#sections.get(mid)?.sid);
    if (event === 'rtp') {
      this.#handlePacket(mid, Buffer.from(base64, 'base64'));
      return;
    }
    if (event === 'sound') {
      const bytes = Buffer.from(base64, 'base64');
      this.#seen.tones[from] = dominant(new Int16Array(bytes.buffer, bytes.byteOffset, bytes.length >> 1), 48000);
    } else if (event === 'picture') {
      this.#seen.colours[from] = rgb;
      this.#seen.pictures[from] = (this.#seen.pictures[from] ?? 0) + 1;
    } else if (event === 'data') {
      const message = readDataPacket(Buffer.from(base64, 'base64'));
      if (message) this.#seen.data.push(message);
    } else {
      const [resolve, reject] = this.#waiting.get(id) ?? [];
      this.#waiting.delete(id);
      if (error) reject?.(new Error(error));
      else resolve?.(value);
    }
    this.#changed();
  }

  #handleSignal(name, value) {
    this.#seen.messages.push(name === 'trackPublished' ? `${name} ${value.cid}` : name);
    const people = name === 'join' ? value.otherParticipants : name === 'update' ? value.participants : [];
    for (const { sid, identity } of people) this.#identities.set(sid, identity);
    if (name === 'offer') {
      this.#readSections(value.sdp);
      this.#then(async () => {
        const { sdp } = await this.#call('answer', { sdp: value.sdp });
        this.#signal.send('answer', { type: 'answer', sdp, id: value.id });
      });
    } else if (name === 'answer') {
      this.#then(() => this.#call('accept', { sdp: value.sdp }));
    } else if (name === 'trickle') {
      const connection = value.target === 1 ? 'subscriber' : 'publisher';
      this.#then(() => this.#call('candidate', { connection, candidate: JSON.parse(value.candidateInit) }));
    }
    this.#changed();
  }

  /** Does something after what was begun before. A failure is what the next command tells. */
  #then(work) {
    this.#turn = this.#turn.then(work);
    this.#turn.catch((error) => this.#seen.messages.push(`failed: ${error.message}`));
  }

  /** Whose each section is: the stream's name begins with the participant's sid. */
  #readSections(sdp) {
    for (const section of sdp.split(/^m=/m).slice(1)) {
      const [mid, sid] = [section.match(/^a=mid:(\S+)/m)?.[1], section.match(/^a=msid:([^|\s]+)/m)?.[1]];
      const maps = [...section.matchAll(/^a=rtpmap:(\d+) (opus|VP8|red)\//gm)];
      const formats = new Map(maps.map(([, payloadType, codec]) => [Number(payloadType), codec.toLowerCase()]));
      if (sid) this.#sections.set(mid, { sid, formats, kind: section.split(' ')[0] });
    }
  }
}
