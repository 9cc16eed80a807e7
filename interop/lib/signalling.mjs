// A signal connection by hand, for WebRTC stacks that no LiveKit SDK is made of: dual peer connections, the
// protocol that every client before the single connection speaks.
import WebSocket from 'ws';
import { once } from 'node:events';
import { DataPacket, DataPacket_Kind, SignalRequest, SignalResponse, UserPacket } from '@livekit/protocol';

/** Joins a room; resolves when the server has said who we are. `handle(case, value)` gets every later message. */
export async function signIn({ url, token, protocol = 15 }, handle) {
  const query = new URLSearchParams({ access_token: token, protocol, auto_subscribe: '1', sdk: 'other', version: '0.0.1' });
  const socket = new WebSocket(`${url}/rtc?${query}`);
  let joined;
  const join = new Promise((resolve, reject) => {
    joined = resolve;
    socket.once('error', reject);
    socket.once('close', (code) => reject(new Error(`the signal connection closed with ${code}`)));
  });
  join.catch(() => {});
  socket.on('message', (bytes) => {
    const { case: name, value } = SignalResponse.fromBinary(bytes).message;
    if (name === 'join') joined(value);
    handle(name, value);
  });
  const send = (name, value) => socket.send(new SignalRequest({ message: { case: name, value } }).toBinary());
  return {
    join: await join,
    send,
    async leave() {
      if (socket.readyState === WebSocket.CLOSED) return;
      const closed = once(socket, 'close');
      send('leave', { reason: 1 });
      socket.close();
      await closed;
    },
  };
}

/** A user's message as it goes over a data channel. */
export function dataPacket(text) {
  const value = new UserPacket({ payload: new TextEncoder().encode(text) });
  return new DataPacket({ kind: DataPacket_Kind.RELIABLE, value: { case: 'user', value } }).toBinary();
}

/** The text and sender's identity of a user's message, or nothing when it is of another kind. */
export function readDataPacket(bytes) {
  const packet = DataPacket.fromBinary(bytes);
  if (packet.value.case !== 'user') return undefined;
  const { payload, participantIdentity } = packet.value.value;
  return { from: packet.participantIdentity || participantIdentity, text: new TextDecoder().decode(payload) };
}
