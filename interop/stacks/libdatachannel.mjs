// libdatachannel as a WebRTC stack, driven by JSON lines (see lib/stacks.mjs). It has no codecs: it hands on RTP.
import { createInterface } from 'node:readline';
import { Audio, PeerConnection, RtcpReceivingSession, Video, initLogger } from 'node-datachannel';

if (process.env.CLIENT_LOG) initLogger(process.env.CLIENT_LOG, (level, text) => console.error(level, text));

const connections = {};
// What nothing refers to is collected, and closes.
const kept = [];
const tracks = {};
let channel;

const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);
const bytes = (base64) => Buffer.from(base64, 'base64');
const text = (data) => Buffer.from(data).toString('base64');

function connection(name) {
  // Media comes with a later description than the handshake: it has to be ready for it.
  const one = new PeerConnection(name, { iceServers: [], disableAutoNegotiation: true, forceMediaTransport: true });
  connections[name] = one;
  one.onDataChannel((other) => listen(other));
  one.onTrack((track) => {
    const mid = track.mid();
    tracks[mid] = track;
    track.setMediaHandler(new RtcpReceivingSession());
    track.onMessage((packet) => say({ event: 'rtp', mid, base64: text(packet) }));
  });
  return one;
}

function listen(one) {
  kept.push(one);
  one.onMessage((data) => say({ event: 'data', base64: text(data) }));
}

/**
 * Without its candidates, and those. It lets ICE begin on a description before it knows that description's
 * fingerprint: a handshake that is over by then fails. So no side learns where the other is before that.
 */
function apart(sdp) {
  const lines = sdp.split('\r\n');
  const candidates = lines.filter((line) => line.startsWith('a=candidate:'));
  const rest = lines.filter((line) => !candidates.includes(line) && line !== 'a=end-of-candidates');
  return [rest.join('\r\n'), [...new Set(candidates)].map((line) => line.slice(2))];
}

/** Our description with all of our candidates. */
async function local(one, type) {
  const gathered = new Promise((resolve) => one.onGatheringStateChange((state) => state === 'complete' && resolve()));
  one.setLocalDescription(type);
  if (one.gatheringState() !== 'complete') await gathered;
  return { sdp: one.localDescription().sdp };
}

const commands = {
  answer({ sdp }) {
    const one = connections.subscriber ?? connection('subscriber');
    one.setRemoteDescription(sdp, 'offer');
    return local(one, 'answer');
  },
  async offer({ audio, video }) {
    const one = connection('publisher');
    const add = (description, { mid, ssrc, payloadType }) => {
      if (mid === 'audio') description.addOpusCodec(payloadType);
      else description.addVP8Codec(payloadType);
      description.addSSRC(ssrc, 'stack', 'stack', `${mid}-track`);
      tracks[mid] = one.addTrack(description);
    };
    if (audio) add(new Audio('audio', 'SendOnly'), { mid: 'audio', ...audio });
    if (video) add(new Video('video', 'SendOnly'), { mid: 'video', ...video });
    channel = one.createDataChannel('_reliable');
    listen(channel);
    const { sdp } = await local(one, 'offer');
    return { sdp: apart(sdp)[0] };
  },
  accept({ sdp }) {
    const [description, candidates] = apart(sdp);
    connections.publisher.setRemoteDescription(description, 'answer');
    for (const candidate of candidates) connections.publisher.addRemoteCandidate(candidate, '0');
  },
  candidate: () => {},
  rtp({ mid, base64 }) {
    if (tracks[mid].isOpen()) tracks[mid].sendMessageBinary(bytes(base64));
  },
  keyframe: ({ mid }) => tracks[mid].requestKeyframe(),
  async send({ base64 }) {
    if (!channel.isOpen()) await new Promise((resolve) => channel.onOpen(resolve));
    channel.sendMessageBinary(bytes(base64));
  },
};

const lines = createInterface({ input: process.stdin });
lines.on('line', async (line) => {
  const { id, name, args } = JSON.parse(line);
  try {
    say({ id, value: await commands[name](args) });
  } catch (error) {
    say({ id, error: error.stack });
  }
});
lines.on('close', () => {
  for (const one of Object.values(connections)) one.close();
  process.exit(0);
});
