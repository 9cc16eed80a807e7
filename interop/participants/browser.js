// A participant on livekit-client in a page, driven through `window.commands` (see lib/clients.mjs).
/* global LivekitClient */
const { Room, RoomEvent, Track } = LivekitClient;
const TONES = [440, 620, 870, 1230, 1710, 2390];
const state = { data: [], left: [], reasons: {}, events: [], subscribed: [] };
const videos = new Map();
const analysers = new Map();
const waiters = new Set();
const peers = new Set();
let room;
let sound;
let oscillator;

// Every peer connection that gets a description, to count its sections.
const setRemote = RTCPeerConnection.prototype.setRemoteDescription;
RTCPeerConnection.prototype.setRemoteDescription = function (description) {
  peers.add(this);
  return setRemote.call(this, description);
};

// Every socket that the SDK opens.
const sockets = [];
window.WebSocket = class extends WebSocket {
  constructor(...args) {
    super(...args);
    sockets.push(this);
  }
};

/** Asks every waiting command again. Called on events, and on each animation tick for pixels and sound. */
function changed() {
  for (const waiter of [...waiters]) waiter();
}

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

function soundContext() {
  sound ??= new AudioContext({ sampleRate: 48000 });
  return sound;
}

function dominant(identity) {
  const analyser = analysers.get(identity);
  if (!analyser) return 0;
  const samples = new Float32Array(8192);
  analyser.getFloatTimeDomainData(samples);
  return toneOf(samples);
}

/** The tone that makes up most of the sound, or 0 when none has at least half of the power. */
function toneOf(samples) {
  let total = 0;
  for (const sample of samples) total += sample * sample;
  if (total < 1e-4) return 0;
  let best = 0;
  let most = 0.5;
  for (const hz of TONES) {
    const coefficient = 2 * Math.cos((2 * Math.PI * hz) / 48000);
    let [before, last] = [0, 0];
    for (const sample of samples) [before, last] = [last, sample + coefficient * last - before];
    const part = (2 * (last * last + before * before - coefficient * last * before)) / (samples.length * total);
    if (part > most) [best, most] = [hz, part];
  }
  return best;
}

const canvas = document.createElement('canvas');
canvas.width = canvas.height = 1;
const pen = canvas.getContext('2d', { willReadFrequently: true });

function colour(identity) {
  const video = videos.get(identity);
  if (!video || !video.videoWidth) return undefined;
  pen.drawImage(video, video.videoWidth / 2, video.videoHeight / 2, 1, 1, 0, 0, 1, 1);
  return [...pen.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}

async function join({ url, token, options = {}, connect = {}, e2ee }) {
  const keyProvider = e2ee && new LivekitClient.ExternalE2EEKeyProvider();
  const encryption = e2ee && { keyProvider, worker: new Worker('/e2ee-worker.js') };
  room = new Room({ adaptiveStream: false, dynacast: false, ...(e2ee && { encryption }), ...options });
  if (e2ee) {
    await keyProvider.setKey(e2ee);
    await room.setE2EEEnabled(true);
  }
  window.room = room;
  room.on(RoomEvent.TrackSubscribed, (track, _publication, from) => {
    state.subscribed.push(`${from.identity}:${track.kind}`);
    play(track, from.identity);
    changed();
  });
  room.on(RoomEvent.DataReceived, (payload, from, _kind, topic) => {
    state.data.push({ from: from?.identity ?? '', topic: topic ?? '', text: new TextDecoder().decode(payload) });
    changed();
  });
  room.on(RoomEvent.ParticipantDisconnected, (who, reason) => {
    state.left.push(who.identity);
    state.reasons[who.identity] = LivekitClient.DisconnectReason[reason];
    changed();
  });
  room.on(RoomEvent.Disconnected, (reason) => (state.disconnected = LivekitClient.DisconnectReason[reason]));
  room.registerTextStreamHandler('chat', async (reader, { identity }) => {
    state.data.push({ from: identity, topic: 'chat', text: await reader.readAll() });
    changed();
  });
  for (const event of Object.values(RoomEvent)) {
    room.on(event, (...args) => {
      const first = args[0];
      state.events.push(typeof first === 'string' || typeof first === 'number' ? `${event}:${first}` : event);
      if (state.events.length > 2000) state.events.shift();
      changed();
    });
  }
  await room.connect(url, token, connect);
  return { sid: room.localParticipant.sid };
}

/** Shows a participant's picture, or listens to its sound. */
function play(track, identity) {
  const element = track.attach();
  element.muted = true;
  document.body.append(element);
  if (track.kind === Track.Kind.Video) videos.set(identity, element);
  else {
    const context = soundContext();
    const analyser = context.createAnalyser();
    analyser.fftSize = 16384;
    context.createMediaStreamSource(new MediaStream([track.mediaStreamTrack])).connect(analyser);
    analysers.set(identity, analyser);
  }
}

/**
 * Resolves when a reconnect is over in every respect, and plays all tracks that the room then has.
 * The SDK waits for at least two seconds before it calls a reconnect done. When the connection was there
 * sooner, it tells `reconnected` at once, keeps the events of the rest of that time back until the next
 * reconnect, and queues reliable data that only a resume would send: so this waits for the end, and reads
 * what is subscribed from the room.
 */
async function settled() {
  await until(() => (state.events.includes('reconnected') && room.state === 'connected' && !room.engine.pendingReconnect && !room.engine.attemptingReconnect) || undefined);
  await until(() => {
    const publications = [...room.remoteParticipants.values()].flatMap((one) => [...one.trackPublications.values()]);
    return (publications.length > 0 && publications.every((one) => one.track)) || undefined;
  });
  for (const participant of room.remoteParticipants.values()) {
    for (const { track } of participant.trackPublications.values()) play(track, participant.identity);
  }
}

/** A picture of one colour with something that moves, so that encoders have work. */
function picture(rgb, width, height, fps) {
  const surface = document.createElement('canvas');
  [surface.width, surface.height] = [width, height];
  const brush = surface.getContext('2d');
  let count = 0;
  const draw = () => {
    brush.fillStyle = `rgb(${rgb.join(',')})`;
    brush.fillRect(0, 0, width, height);
    brush.fillStyle = '#fff';
    brush.fillRect((count++ * 7) % width, 0, 12, 12);
  };
  draw();
  setInterval(draw, 1000 / fps);
  return surface.captureStream(fps).getVideoTracks()[0];
}

async function publish({ tone, colour: rgb, width = 320, height = 180, fps = 15, video = { simulcast: false }, audio = {} }) {
  if (tone) {
    const context = soundContext();
    oscillator = context.createOscillator();
    oscillator.frequency.value = tone;
    const volume = context.createGain();
    volume.gain.value = 0.3;
    const out = context.createMediaStreamDestination();
    oscillator.connect(volume).connect(out);
    oscillator.start();
    await room.localParticipant.publishTrack(out.stream.getAudioTracks()[0], { source: Track.Source.Microphone, dtx: false, ...audio });
  }
  if (rgb) {
    await room.localParticipant.publishTrack(picture(rgb, width, height, fps), { source: Track.Source.Camera, ...video });
  }
}

/** Publishes the browser's fake camera with simulcast. */
async function publishCamera({ options = {}, capture = {} } = {}) {
  const [track] = await LivekitClient.createLocalTracks({ video: { resolution: { width: 1280, height: 720, frameRate: 30 }, ...capture } });
  await room.localParticipant.publishTrack(track, { source: Track.Source.Camera, simulcast: true, videoCodec: 'vp8', ...options });
}

/** Publishes the browser's fake microphone as it is. */
async function publishMicrophone() {
  const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const [track] = await LivekitClient.createLocalTracks({ audio: plain });
  await room.localParticipant.publishTrack(track, { source: Track.Source.Microphone, dtx: false });
}

/** Resolves when a second of sound that is not silence was played, by the browser's own statistics. */
async function sounds(identity) {
  const first = await inbound(identity, 'audio');
  for (;;) {
    const now = await inbound(identity, 'audio');
    const more = (field) => (now?.[field] ?? 0) - (first?.[field] ?? 0);
    if (more('totalSamplesDuration') >= 1 && more('totalAudioEnergy') > 0.01) return now;
    await new Promise((done) => setTimeout(done, 100));
  }
}

/** Resolves when a recording of a participant's sound holds that tone: no sound card takes part in that. */
async function records(identity, tone) {
  await until(() => publicationOf(identity, 'audio')?.track);
  for (;;) {
    const recorder = new MediaRecorder(new MediaStream([publicationOf(identity, 'audio').track.mediaStreamTrack]));
    const chunks = [];
    recorder.ondataavailable = ({ data }) => chunks.push(data);
    recorder.start();
    await played(identity, 1);
    const stopped = new Promise((done) => (recorder.onstop = done));
    recorder.stop();
    await stopped;
    const sound = await new OfflineAudioContext(1, 1, 48000).decodeAudioData(await new Blob(chunks).arrayBuffer());
    state.recorded = toneOf(sound.getChannelData(0).slice(-8192));
    if (state.recorded === tone) return;
  }
}

/** Resolves when that many seconds of a participant's sound were played from now on. */
async function played(identity, seconds) {
  await arrives(identity, 1);
  const first = await inbound(identity, 'audio');
  for (;;) {
    const now = await inbound(identity, 'audio');
    if (now.totalSamplesDuration - first.totalSamplesDuration >= seconds) return;
    await new Promise((done) => setTimeout(done, 250));
  }
}

/** The first report of a type from the receiver of a participant's track. */
async function inbound(identity, kind) {
  for (const publication of room.remoteParticipants.get(identity)?.trackPublications.values() ?? []) {
    if (publication.kind !== kind || !publication.track) continue;
    const report = await publication.track.getRTCStatsReport();
    for (const entry of report?.values() ?? []) {
      if (entry.type === 'inbound-rtp') return { ...entry, mime: report.get(entry.codecId)?.mimeType };
    }
  }
  return null;
}

/** Number of the stream that carries a participant's track (or an own one), and what its payload types mean. */
async function stream(identity, kind) {
  const who = identity ? room.remoteParticipants.get(identity) : room.localParticipant;
  const { track } = [...who.trackPublications.values()].find((one) => one.kind === kind);
  const end = identity ? track.receiver : track.sender;
  const [type, report] = [identity ? 'inbound-rtp' : 'outbound-rtp', await end.getStats()];
  const { ssrc } = [...report.values()].find((entry) => entry.type === type);
  return { ssrc, formats: Object.fromEntries(end.getParameters().codecs.map((one) => [one.payloadType, one.mimeType])) };
}

/** Times between pictures that were really shown, in ms. */
function watchFrames(identity) {
  const video = videos.get(identity);
  const watch = { gaps: [], last: performance.now() };
  state.frames = watch.gaps;
  const next = () => {
    const now = performance.now();
    watch.gaps.push(now - watch.last);
    watch.last = now;
    video.requestVideoFrameCallback(next);
  };
  video.requestVideoFrameCallback(() => {
    watch.last = performance.now();
    video.requestVideoFrameCallback(next);
  });
}

/**
 * Watches the packets of a participant's sound. `state.silence` becomes the longest time, in ms, for
 * which packets failed to come: the time between two of them less what their number accounts for,
 * so that a late look at the statistics is no gap.
 */
async function watchPackets(identity) {
  const packet = 20;
  let last = await inbound(identity, 'audio');
  state.silence = 0;
  state.watched = 0;
  const look = async () => {
    const now = await inbound(identity, 'audio');
    const more = now.packetsReceived - last.packetsReceived;
    if (more > 0) {
      const gap = now.lastPacketReceivedTimestamp - last.lastPacketReceivedTimestamp - (more - 1) * packet;
      state.silence = Math.max(state.silence, gap);
      state.watched += more;
      last = now;
    }
    setTimeout(look, packet);
  };
  void look();
}

/** Resolves when that many packets of a participant's sound came from now on, on one stream. */
async function arrives(identity, packets) {
  let first;
  for (;;) {
    const now = await inbound(identity, 'audio');
    if (now?.ssrc !== first?.ssrc) first = now;
    if (now && now.packetsReceived >= first.packetsReceived + packets) return;
    await new Promise((done) => setTimeout(done, 50));
  }
}

/** Sends numbered messages, one after the other, until `hush`. */
let counting;
function count({ name, every }) {
  counting = { sent: 0, on: true };
  const mine = counting;
  mine.done = (async () => {
    while (mine.on) {
      const payload = new TextEncoder().encode(`${name}:${mine.sent++}`);
      await room.localParticipant.publishData(payload, { reliable: true, topic: 'count' });
      await new Promise((next) => setTimeout(next, every));
    }
  })();
}

/** Ends that; how many were sent. */
async function hush() {
  counting.on = false;
  await counting.done;
  return counting.sent;
}

/** Shares a screen with sound; both are asked for by their sources. */
async function publishScreen({ tone, colour: rgb, width = 640, height = 360, fps = 10 }) {
  const context = soundContext();
  oscillator = context.createOscillator();
  oscillator.frequency.value = tone;
  const out = context.createMediaStreamDestination();
  oscillator.connect(out);
  oscillator.start();
  await room.localParticipant.publishTrack(picture(rgb, width, height, fps), { source: Track.Source.ScreenShare, simulcast: false });
  await room.localParticipant.publishTrack(out.stream.getAudioTracks()[0], { source: Track.Source.ScreenShareAudio });
}

/** Subscribes to a participant's video and gives the time to its first shown frame, in ms. */
async function firstFrame(identity) {
  const publication = publicationOf(identity, 'video');
  videos.delete(identity);
  const start = performance.now();
  publication.setSubscribed(true);
  await until(() => videos.get(identity));
  // Not the element: a page behind another one draws once per second only.
  const frames = new MediaStreamTrackProcessor({ track: publication.track.mediaStreamTrack }).readable.getReader();
  (await frames.read()).value.close();
  const took = performance.now() - start;
  await frames.cancel();
  return took;
}

const expression = (code) => new Function('room', 'state', 'LivekitClient', `return (${code})`);

function publicationOf(identity, kind) {
  return [...room.remoteParticipants.get(identity).trackPublications.values()].find((one) => one.kind === kind);
}

const near = (a, b) => a && a.every((value, i) => Math.abs(value - b[i]) < 48);
window.state = state;
window.until = until;
window.videos = videos;
window.commands = {
  join,
  publish,
  heard: ({ from, tone }) => until(() => dominant(from) === tone || undefined),
  saw: ({ from, colour: rgb }) => until(() => near(colour(from), rgb) || undefined),
  publishCamera,
  publishMicrophone,
  played: ({ from, seconds }) => played(from, seconds),
  sounds: ({ from }) => sounds(from),
  /** The codec that a participant's track arrives as, and the id of its stream. */
  arrival: async ({ from, kind }) => {
    const publication = [...room.remoteParticipants.get(from).trackPublications.values()].find((one) => one.kind === kind);
    const report = await publication.track.getRTCStatsReport();
    const codec = [...report.values()].find((entry) => entry.type === 'codec' && entry.id === [...report.values()].find((one) => one.type === 'inbound-rtp').codecId);
    return { mime: codec?.mimeType, stream: publication.track.mediaStream?.id, sid: publication.trackSid };
  },
  records: ({ from, tone }) => records(from, tone),
  inbound: ({ from, kind }) => inbound(from, kind),
  stream: ({ from, kind }) => stream(from, kind),
  arrives: ({ from, packets }) => arrives(from, packets),
  watchPackets: ({ from }) => watchPackets(from),
  count,
  counted: () => counting.sent,
  hush,
  watchFrames: ({ from }) => watchFrames(from),
  frameGaps: () => state.frames,
  setQuality: ({ from, quality }) => publicationOf(from, 'video').setVideoQuality(LivekitClient.VideoQuality[quality]),
  height: ({ from, height }) => until(() => videos.get(from)?.videoHeight === height || undefined),
  decoded: ({ from, more }) =>
    new Promise((resolve) => {
      let first;
      const ask = async () => {
        const entry = await inbound(from, 'video');
        if (entry) {
          first ??= entry.framesDecoded;
          if (entry.framesDecoded >= first + more) return resolve(entry);
        }
        setTimeout(ask, 100);
      };
      void ask();
    }),
  repairs: () => [...(window.repairs ?? [])],
  send: ({ text, reliable, to, topic }) =>
    room.localParticipant.publishData(new TextEncoder().encode(text), { reliable, destinationIdentities: to, topic }),
  received: ({ text }) => until(() => state.data.find((one) => one.text === text)),
  participants: () => [...room.remoteParticipants.keys()],
  present: ({ identity }) => until(() => room.remoteParticipants.has(identity) || undefined),
  gone: ({ identity }) => until(() => state.left.includes(identity) || undefined),
  event: ({ name }) => until(() => state.events.find((one) => one === name || one.startsWith(`${name}:`))),
  state: () => ({ ...state, colours: Object.fromEntries([...videos.keys()].map((who) => [who, colour(who)])), tones: Object.fromEntries([...analysers.keys()].map((who) => [who, dominant(who)])) }),
  // An expression over `room`, `state` and `LivekitClient`: its value, or waiting until it is true.
  get: ({ code }) => expression(code)(room, state, LivekitClient),
  holds: ({ code }) => until(() => expression(code)(room, state, LivekitClient) || undefined),
  forget: ({ from }) => videos.delete(from),
  still: async ({ from, packets }) => {
    // Pictures in flight when the wish was sent may still come: the first calm stretch counts.
    for (;;) {
      const [seen, heard] = [(await inbound(from, 'video')).packetsReceived, (await inbound(from, 'audio')).packetsReceived];
      while ((await inbound(from, 'audio')).packetsReceived < heard + packets) await new Promise(requestAnimationFrame);
      if ((await inbound(from, 'video')).packetsReceived === seen) return;
    }
  },
  /** Waits for so many more packets of sound: a clock of 20 ms. */
  hears: async ({ from, packets }) => {
    const end = (await inbound(from, 'audio')).packetsReceived + packets;
    while ((await inbound(from, 'audio')).packetsReceived < end) await new Promise(requestAnimationFrame);
  },
  settled,
  silence: () => oscillator.stop(),
  resize: ({ from, width, height }) => Object.assign(videos.get(from).style, { width: `${width}px`, height: `${height}px` }) && null,
  sections: () => Math.max(...[...peers].map((peer) => (peer.remoteDescription?.sdp ?? '').split('\nm=').length - 1)),
  publishScreen,
  firstFrame: ({ from }) => firstFrame(from),
  leave: () => room.disconnect(),
};
// What `data.js` builds further commands on.
window.parts = { room: () => room, methods: () => room, state, changed, until, RpcError: LivekitClient.RpcError };
setInterval(changed, 50);
