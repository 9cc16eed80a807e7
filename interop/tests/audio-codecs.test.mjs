// Sound of two codecs. livekit-client publishes such sound for no one yet, but it has all that it takes: the announcement of a
// further codec, one more transceiver, a negotiation. This puts them together as the SDK does for pictures.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { joinPage, startBrowser } from '../lib/clients.mjs';
import { startServer } from '../lib/server.mjs';

const [SIMULCAST, REGRESSION] = [1, 2];
let server;
let browser;

before(async () => {
  server = await startServer();
  browser = await startBrowser();
});

after(async () => {
  await browser?.stop();
  await server?.stop();
});

const join = (t, room, identity, options, only) => joinPage(t, browser, server, { room, identity, options, only });

/** Sound is announced as Opus with PCMU to come, and what the server wants of it is kept. */
function announceTwo(policy) {
  const { client } = room.engine;
  const send = client.sendAddTrack.bind(client);
  client.sendAddTrack = (request) => {
    window.AddTrackRequest = request.constructor;
    const simulcastCodecs = [{ codec: 'opus', cid: request.cid }, { codec: 'pcmu', cid: '' }];
    return send(new request.constructor({ ...request, simulcastCodecs, backupCodecPolicy: policy }));
  };
  window.wanted = '';
  const handle = client.handleSignalResponse.bind(client);
  client.handleSignalResponse = (response) => {
    if (response.message?.case === 'subscribedAudioCodecUpdate') {
      window.wanted = response.message.value.subscribedAudioCodecs.map(({ codec, enabled }) => `${codec}:${enabled}`).join(' ');
    }
    return handle(response);
  };
  client.plainSendAddTrack = send;
}

/** Publishes the same sound as PCMU too. */
async function addPcmu() {
  const { engine, localParticipant } = room;
  const [publication] = localParticipant.audioTrackPublications.values();
  const further = publication.track.mediaStreamTrack.clone();
  const Request = window.AddTrackRequest;
  engine.client.sendAddTrack = engine.client.plainSendAddTrack;
  const request = new Request({ cid: further.id, sid: publication.trackSid, type: 0, source: 2, simulcastCodecs: [{ codec: 'pcmu', cid: further.id }] });
  const negotiate = async () => {
    const transceiver = await engine.pcManager.addPublisherTransceiver(further, { direction: 'sendonly' });
    transceiver.setCodecPreferences(RTCRtpSender.getCapabilities('audio').codecs.filter(({ mimeType }) => mimeType === 'audio/PCMU'));
    await engine.negotiate();
  };
  await Promise.all([engine.addTrack(request), negotiate()]);
}

const mimeOf = async (listener) => (await listener.arrival({ from: 'publisher', kind: 'audio' })).mime;

for (const single of [true, false]) {
  const mode = single ? 'single' : 'dual';
  const options = { singlePeerConnection: single };

  test(`sound of two codecs reaches everybody in one that is understood (${mode} connection)`, async (t) => {
    const publisher = await join(t, `both-${mode}`, 'publisher', options);
    const rich = await join(t, `both-${mode}`, 'rich', options);
    const poor = await join(t, `both-${mode}`, 'poor', options, { audio: ['audio/pcmu'] });
    await publisher.page.evaluate(announceTwo, SIMULCAST);
    await publisher.publish({ tone: 440 });
    await rich.heard({ from: 'publisher', tone: 440 });
    await publisher.holds({ code: `window.wanted === 'opus:true pcmu:true'` });
    await publisher.page.evaluate(addPcmu);
    await poor.heard({ from: 'publisher', tone: 440 });
    assert.equal(await mimeOf(poor), 'audio/PCMU');
    assert.match(await mimeOf(rich), /audio.(opus|red)/);
    // Who needs the further codec leaves: it is not wanted any more.
    await poor.leave();
    await publisher.holds({ code: `window.wanted === 'opus:true pcmu:false'` });
    await rich.heard({ from: 'publisher', tone: 440 });
  });

  test(`a further codec of sound takes over under the policy REGRESSION (${mode} connection)`, async (t) => {
    const publisher = await join(t, `over-${mode}`, 'publisher', options);
    const rich = await join(t, `over-${mode}`, 'rich', options);
    await publisher.page.evaluate(announceTwo, REGRESSION);
    await publisher.publish({ tone: 440 });
    await rich.heard({ from: 'publisher', tone: 440 });
    await publisher.page.evaluate(addPcmu);
    await publisher.holds({ code: `window.wanted === 'opus:false pcmu:true'` });
    while ((await mimeOf(rich)) !== 'audio/PCMU');
    await rich.heard({ from: 'publisher', tone: 440 });
  });
}
