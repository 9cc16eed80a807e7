// Encoders and decoders for WebRTC stacks that have none: FFmpeg, with RTP over the loopback interface.
import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';

const LOG = process.env.CLIENT_LOG ? 'inherit' : 'ignore';
const QUIET = ['-hide_banner', '-loglevel', 'error'];
const CODECS = {
  opus: { map: 'opus/48000/2', make: ['-c:a', 'libopus', '-b:a', '32k'] },
  vp8: { map: 'VP8/90000', make: ['-c:v', 'libvpx', '-deadline', 'realtime', '-b:v', '300k', '-g', '15'] },
};

/** A tone or a one-colour picture as RTP packets. Resolves with what ends it. */
export async function encode({ tone, colour, codec, ssrc, payloadType }, handlePacket) {
  const socket = createSocket('udp4').bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  const source = tone ? `sine=frequency=${tone}:sample_rate=48000` : `color=c=0x${Buffer.from(colour).toString('hex')}:s=320x180:r=15`;
  const { make } = CODECS[codec];
  const child = spawn('ffmpeg', [
    ...QUIET, '-re', '-f', 'lavfi', '-i', source, ...make, '-payload_type', payloadType, '-ssrc', ssrc,
    '-f', 'rtp', `rtp://127.0.0.1:${port}?pkt_size=1200&rtcpport=${port}`,
  ].map(String), { stdio: ['ignore', 'ignore', LOG] });
  socket.on('message', (packet) => {
    // Its reports come to the same port (RFC 5761 §4).
    if ((packet[1] & 0x7f) === payloadType) handlePacket(packet);
  });
  return () => {
    child.kill('SIGKILL');
    socket.close();
  };
}

/** Decodes RTP packets of one track: 16 bits mono at 48 kHz in pieces of 200 ms, or the colour of each picture's middle. */
export async function decode({ codec, payloadType }, handleDecoded) {
  // FFmpeg takes a port that was free a moment ago.
  const probe = createSocket('udp4').bind(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  const kind = codec === 'opus' ? 'audio' : 'video';
  const sdp = `v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=${kind} ${port} RTP/AVP ${payloadType}\r\n` +
    `a=rtpmap:${payloadType} ${CODECS[codec].map}\r\n`;
  const [size, form] = kind === 'audio'
    ? [19200, ['-f', 's16le', '-ar', '48000', '-ac', '1']]
    : [3, ['-vf', 'crop=2:2,scale=1:1', '-pix_fmt', 'rgb24', '-fps_mode', 'passthrough', '-f', 'rawvideo']];
  const child = spawn('ffmpeg', [
    ...QUIET, '-protocol_whitelist', 'pipe,udp,rtp', '-fflags', 'nobuffer', '-flags', 'low_delay', '-probesize', '32',
    '-analyzeduration', '0', '-reorder_queue_size', '0', '-f', 'sdp', '-i', 'pipe:0', ...form, '-flush_packets', '1', 'pipe:1',
  ], { stdio: ['pipe', 'pipe', LOG] });
  child.stdin.on('error', () => {});
  child.stdin.end(sdp);
  let held = Buffer.alloc(0);
  child.stdout.on('data', (bytes) => {
    for (held = Buffer.concat([held, bytes]); held.length >= size; held = held.subarray(size)) {
      handleDecoded(held.subarray(0, size));
    }
  });
  const socket = createSocket('udp4');
  return {
    handlePacket: (packet) => socket.send(packet, port, '127.0.0.1'),
    stop() {
      child.kill('SIGKILL');
      socket.close();
    },
  };
}

/** The newest block of a RED packet (RFC 2198 §3), as a packet of the payload type within. */
export function withoutRedundancy(packet) {
  const header = 12 + 4 * (packet[0] & 0x0f) + (packet[0] & 0x10 ? 4 + 4 * packet.readUInt16BE(14 + 4 * (packet[0] & 0x0f)) : 0);
  let [at, before] = [header, 0];
  for (; packet[at] & 0x80; at += 4) before += packet.readUInt16BE(at + 2) & 0x3ff;
  const head = Buffer.from(packet.subarray(0, header));
  head[1] = (head[1] & 0x80) | (packet[at] & 0x7f);
  return Buffer.concat([head, packet.subarray(at + 1 + before)]);
}
