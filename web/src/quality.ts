// The quality overlay: codec, layer, resolution, bitrate, loss and round trip of one track, from
// the browser's own statistics.
import { type Track, LocalTrack, RemoteTrack } from 'livekit-client';

interface Sample {
  at: number;
  bytes: number;
  packets: number;
  lost: number;
}

const last = new WeakMap<Track, Sample>();

/** A few lines of text about a track, or an empty string when nothing is known yet. */
export async function describe(track: Track | undefined): Promise<string> {
  if (!track) return '';
  const report = await statistics(track);
  if (!report) return '';
  const entries = [...report.values()];
  const inbound = entries.find((e) => e.type === 'inbound-rtp');
  const outbound = entries.filter((e) => e.type === 'outbound-rtp');
  const pair = entries.find((e) => e.type === 'candidate-pair' && e.nominated);
  const remote = entries.find((e) => e.type === 'remote-inbound-rtp');
  const main = inbound ?? outbound.sort((a, b) => (b.frameHeight ?? 0) - (a.frameHeight ?? 0))[0];
  if (!main) return '';
  const codec = entries.find((e) => e.id === main.codecId)?.mimeType?.split('/')[1] ?? '?';
  const now: Sample = {
    at: performance.now(),
    bytes: inbound ? inbound.bytesReceived : sum(outbound, 'bytesSent'),
    packets: inbound ? inbound.packetsReceived : sum(outbound, 'packetsSent'),
    lost: inbound ? inbound.packetsLost : (remote?.packetsLost ?? 0),
  };
  const before = last.get(track);
  last.set(track, now);
  const layer = inbound ? '' : outbound.filter((e) => e.active !== false && e.framesPerSecond).map((e) => e.rid ?? '').join('');
  const size = main.frameWidth ? `${main.frameWidth}×${main.frameHeight}` : '';
  const rate = main.framesPerSecond ? `${Math.round(main.framesPerSecond)} fps` : '';
  const lines = [[codec, layer || heightName(main.frameHeight)].filter(Boolean).join(' · '), [size, rate].filter(Boolean).join(' ')];
  if (before) {
    const seconds = (now.at - before.at) / 1000;
    const kbps = ((now.bytes - before.bytes) * 8) / 1000 / seconds;
    const lost = Math.max(0, now.lost - before.lost);
    const all = lost + Math.max(0, now.packets - before.packets);
    lines.push(`${kbps < 1000 ? `${kbps.toFixed(0)} kbit/s` : `${(kbps / 1000).toFixed(2)} Mbit/s`}`);
    lines.push(`loss ${all ? ((100 * lost) / all).toFixed(1) : '0.0'} %`);
  }
  const rtt = pair?.currentRoundTripTime ?? remote?.roundTripTime;
  if (rtt !== undefined) lines.push(`rtt ${(rtt * 1000).toFixed(0)} ms`);
  return lines.filter(Boolean).join('\n');
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any
type Entry = any;

function sum(entries: Entry[], field: string): number {
  return entries.reduce((total, entry) => total + (entry[field] ?? 0), 0);
}

/** LiveKit's usual simulcast heights by name. */
function heightName(height?: number): string {
  if (!height) return '';
  return height <= 180 ? 'low' : height <= 360 ? 'medium' : 'high';
}

async function statistics(track: Track): Promise<Map<string, Entry> | undefined> {
  if (track instanceof RemoteTrack || track instanceof LocalTrack) {
    const report = await track.getRTCStatsReport();
    return report as unknown as Map<string, Entry> | undefined;
  }
  return undefined;
}
