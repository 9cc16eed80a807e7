// A participant on werift, a WebRTC stack written in TypeScript, driven by JSON lines on standard input (see
// lib/clients.mjs). It has no codecs: it sends the sound and the picture of another participant back as its own,
// packet by packet. Its data channels begin SCTP by their ICE role, which RFC 8841 does not have.
import { createInterface } from 'node:readline';
import { once } from 'node:events';
import WebSocket from 'ws';
import {
  DataPacket, DataPacket_Kind, SignalRequest, SignalResponse, SignalTarget, TrackSource, TrackType, UserPacket,
} from '@livekit/protocol';
import { MediaStreamTrack, RTCPeerConnection, RTCRtpHeaderExtensionParameters, useOPUS, useVP8 } from 'werift';

const MID = 'urn:ietf:params:rtp-hdrext:sdes:mid';
const state = { data: [], left: [], tracks: [], events: [] };
const present = new Set();
const waiters = new Set();
/** What is sent back, by kind: our track, our sender, and whose key frames are asked for. */
const echoes = {};
let socket;
let publisher;
let subscriber;
const channels = {};

function changed() {
  for (const waiter of waiters) waiter();
}

/** Resolves as soon as `test` gives something; it is asked again whenever something was observed. */
function until(test) {
  return new Promise((resolve) => {
    const waiter = () => {
      const value = test();
      if (value === undefined || value === false) return;
      waiters.delete(waiter);
      resolve(value);
    };
    waiters.add(waiter);
    waiter();
  });
}

const request = (name, value) => socket.send(new SignalRequest({ message: { case: name, value } }).toBinary());

function connection(target) {
  const mid = () => [new RTCRtpHeaderExtensionParameters({ uri: MID })];
  const made = new RTCPeerConnection({
    // Without any, it asks one on the Internet.
    iceServers: [{ urls: 'stun:nowhere.invalid:3478' }],
    iceAdditionalHostAddresses: ['127.0.0.1'],
    codecs: { audio: [useOPUS()], video: [useVP8()] },
    headerExtensions: { audio: mid(), video: mid() },
  });
  made.onIceCandidate.subscribe((candidate) => {
    if (candidate) request('trickle', { candidateInit: JSON.stringify(candidate.toJSON?.() ?? candidate), target });
  });
  made.connectionStateChange.subscribe((now) => {
    state.events.push(`${SignalTarget[target]} ${now}`);
    changed();
  });
  return made;
}

function take(channel) {
  channel.onMessage.subscribe((bytes) => {
    const { value, participantIdentity } = DataPacket.fromBinary(bytes);
    if (value.case !== 'user') return;
    state.data.push({ from: participantIdentity, topic: '', text: Buffer.from(value.value.payload).toString() });
    changed();
  });
}

/** Takes what comes on a track, and sends it on when its kind is echoed. */
function hear(track) {
  state.tracks.push(track.kind);
  const { receiver } = subscriber.getTransceivers().find((one) => one.receiver.tracks.includes(track));
  track.onReceiveRtp.subscribe((packet) => {
    const echo = echoes[track.kind];
    if (!echo) return;
    if (echo.from !== track) {
      echo.from = track;
      echo.askKeyFrame = () => track.kind === 'video' && receiver.sendRtcpPLI(packet.header.ssrc);
      echo.askKeyFrame();
    }
    echo.track.writeRtp(packet);
  });
  changed();
}

const handlers = {
  update: ({ participants }) => {
    for (const { identity, state: now } of participants) {
      // DISCONNECTED
      if (now === 3) state.left.push(identity);
      else present.add(identity);
    }
  },
  offer: async ({ sdp, id }) => {
    await subscriber.setRemoteDescription({ type: 'offer', sdp });
    await subscriber.setLocalDescription(await subscriber.createAnswer());
    request('answer', { type: 'answer', sdp: subscriber.localDescription.sdp, id });
  },
  answer: ({ sdp }) => publisher.setRemoteDescription({ type: 'answer', sdp }),
  trickle: ({ candidateInit, target }) => {
    if (!candidateInit) return undefined;
    return (target === SignalTarget.PUBLISHER ? publisher : subscriber).addIceCandidate(JSON.parse(candidateInit));
  },
  trackPublished: ({ cid }) => {
    state.events.push(`published ${cid}`);
  },
};
// One message after the other, as they came.
let handled = Promise.resolve();

async function join({ url, token }) {
  const query = new URLSearchParams({ access_token: token, protocol: '15', auto_subscribe: '1', sdk: 'other', version: '1' });
  socket = new WebSocket(`${url}/rtc?${query}`);
  publisher = connection(SignalTarget.PUBLISHER);
  subscriber = connection(SignalTarget.SUBSCRIBER);
  subscriber.onTrack.subscribe(hear);
  subscriber.onDataChannel.subscribe(take);
  for (const [label, options] of [['_reliable', {}], ['_lossy', { ordered: false, maxRetransmits: 0 }]]) {
    channels[label] = publisher.createDataChannel(label, options);
    take(channels[label]);
    channels[label].stateChanged.subscribe(changed);
  }
  const joined = new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.once('close', (code) => reject(new Error(`the signal connection closed with ${code}`)));
    socket.on('message', (bytes) => {
      const { case: name, value } = SignalResponse.fromBinary(bytes).message;
      if (name === 'join') resolve(value);
      handled = handled
        .then(() => handlers[name]?.(value))
        .catch((error) => state.events.push(`${name}: ${error.stack}`))
        .then(changed);
    });
  });
  const { participant, otherParticipants } = await joined;
  for (const { identity } of otherParticipants) present.add(identity);
  await offer();
  return { sid: participant.sid };
}

async function offer() {
  await publisher.setLocalDescription(await publisher.createOffer());
  request('offer', { type: 'offer', sdp: publisher.localDescription.sdp });
}

/** Publishes what is heard and seen of others. */
async function publish() {
  for (const kind of ['audio', 'video']) {
    const track = new MediaStreamTrack({ kind });
    const { sender } = publisher.addTransceiver(track, { direction: 'sendonly' });
    const echo = { track, askKeyFrame: () => {} };
    sender.onPictureLossIndication.subscribe(() => echo.askKeyFrame());
    const audio = kind === 'audio';
    request('addTrack', {
      cid: sender.trackId,
      name: kind,
      type: audio ? TrackType.AUDIO : TrackType.VIDEO,
      source: audio ? TrackSource.MICROPHONE : TrackSource.CAMERA,
      ...(audio ? {} : { width: 320, height: 180 }),
    });
    await until(() => state.events.includes(`published ${sender.trackId}`) || undefined);
    echoes[kind] = echo;
  }
  await offer();
}

const commands = {
  join,
  publish,
  send: async ({ text, reliable }) => {
    const channel = channels[reliable ? '_reliable' : '_lossy'];
    await until(() => channel.readyState === 'open' || undefined);
    const kind = reliable ? DataPacket_Kind.RELIABLE : DataPacket_Kind.LOSSY;
    const value = { case: 'user', value: new UserPacket({ payload: Buffer.from(text) }) };
    channel.send(Buffer.from(new DataPacket({ kind, value }).toBinary()));
  },
  received: ({ text }) => until(() => state.data.find((one) => one.text === text)),
  present: ({ identity }) => until(() => present.has(identity) || undefined),
  gone: ({ identity }) => until(() => state.left.includes(identity) || undefined),
  state: () => ({ ...state, open: Object.entries(channels).map(([label, { readyState }]) => `${label} ${readyState}`) }),
  leave: async () => {
    const closed = once(socket, 'close');
    request('leave', { reason: 1 });
    socket.close();
    await Promise.all([closed, publisher.close(), subscriber.close()]);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, name, args } = JSON.parse(line);
  Promise.resolve()
    .then(() => commands[name](args ?? {}))
    .then(
      (value) => process.stdout.write(`${JSON.stringify({ id, value: value ?? null })}\n`),
      (error) => process.stdout.write(`${JSON.stringify({ id, error: String(error?.stack ?? error) })}\n`),
    );
}
process.exit(0);
