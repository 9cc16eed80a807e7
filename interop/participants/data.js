// Streams, calls and data tracks of a participant on a JavaScript SDK; the browser's and Node's are
// alike. What arrives goes into `state.data`, byte streams as the SHA-256 of their bytes.

/** Bytes that differ from seed to seed and do not compress: a linear congruential generator. */
export function content(length, seed) {
  const bytes = new Uint8Array(length);
  let word = seed >>> 0;
  for (let i = 0; i < length; i++) {
    word = (Math.imul(word, 1664525) + 1013904223) >>> 0;
    bytes[i] = word >>> 24;
  }
  return bytes;
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** The commands. `methods` is what methods for others' calls are registered at. */
export function dataCommands({ room, methods, state, changed, until, RpcError }) {
  const took = (from, topic, text) => {
    state.data.push({ from, topic, text });
    changed();
  };
  const tracks = [];
  return {
    serve: () => {
      room().registerTextStreamHandler('text', async (reader, { identity }) => took(identity, 'text', await reader.readAll()));
      room().registerByteStreamHandler('bytes', async (reader, { identity }) => {
        const chunks = await reader.readAll();
        took(identity, 'bytes', await sha256(await new Blob(chunks).arrayBuffer()));
      });
      methods().registerRpcMethod('echo', async ({ payload, callerIdentity }) => `${callerIdentity} said ${payload}`);
      methods().registerRpcMethod('fail', async () => {
        throw new RpcError(101, 'no such dish', 'soup');
      });
      methods().registerRpcMethod('silent', () => new Promise(() => {}));
      room().on('dataTrackPublished', async (track) => {
        const { value } = await track.subscribe().getReader().read();
        took(track.publisherIdentity, 'track', new TextDecoder().decode(value.payload));
      });
    },
    sendText: async ({ text, to }) => {
      await room().localParticipant.sendText(text, { topic: 'text', destinationIdentities: to });
    },
    sendBytes: async ({ length, seed, to }) => {
      const bytes = content(length, seed);
      const writer = await room().localParticipant.streamBytes({ topic: 'bytes', name: `seed ${seed}`, totalSize: length, destinationIdentities: to });
      for (let at = 0; at < length; at += 65_536) await writer.write(bytes.subarray(at, at + 65_536));
      await writer.close();
      return sha256(bytes);
    },
    rpc: async ({ to, method, payload = '', timeout }) => {
      try {
        return { value: await room().localParticipant.performRpc({ destinationIdentity: to, method, payload, responseTimeout: timeout }) };
      } catch (error) {
        return { code: error.code, message: error.message, data: error.data };
      }
    },
    // Frames go to those who subscribed by then: one is sent with every tick of the clock.
    publishDataTrack: async ({ name, text }) => {
      const track = await room().localParticipant.publishDataTrack({ name });
      const payload = new TextEncoder().encode(text);
      tracks.push([track, setInterval(() => track.tryPush({ payload }), 50)]);
    },
    endDataTracks: async () => {
      for (const [track, ticking] of tracks.splice(0)) {
        clearInterval(ticking);
        await track.unpublish();
      }
    },
    got: ({ from, topic, text }) => until(() => state.data.find((one) => one.from === from && one.topic === topic && one.text === text)),
  };
}
