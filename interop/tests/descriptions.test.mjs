// What the server says in random calls, held against readers that are not ours: libwebrtc in Chromium, and Firefox. The
// calls are those of crates/room/tests/room/descriptions.rs, which leaves them in the build's folder; a connection's
// descriptions are read by one peer connection, in order. The random clients' own descriptions are not a browser's: an
// offer gets the browser's answer, which the server never sees, and an answer is read as one to a browser's offer of the
// same sections, with that browser's numbers for formats and extensions.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import { createReadStream } from 'node:fs';
import { startBrowser, startFirefox } from '../lib/clients.mjs';

const HISTORIES = new URL('../../target/tmp/descriptions.jsonl', import.meta.url);
/** Descriptions for each browser; a usual run has time for few. */
const COUNT = process.env.THOROUGH ? 2000 : 150;

/** Runs in the page. Reads one connection's descriptions; the value is how many were read, and what the last one met. */
async function read({ kind, steps }) {
  const connection = new RTCPeerConnection();
  let count = 0;
  try {
    for (const step of steps) {
      if (kind === 'offers') await answer(step);
      else if ((await offer(step)) === 'other') break;
      count += 1;
    }
    return { count };
  } catch (error) {
    return { count, error: String(error) };
  } finally {
    connection.close();
  }

  async function answer({ sdp }) {
    await connection.setRemoteDescription({ type: 'offer', sdp });
    await connection.setLocalDescription(await connection.createAnswer());
  }

  /** Offers the same sections and takes the answer, unless the browser's are others: it has no such codec, or gave one up. */
  async function offer(step) {
    const wanted = sections(step.offer);
    if (connection.signalingState === 'stable' && !connection.currentRemoteDescription) {
      // A browser's first section is that of data only if it begins with that.
      connection.createDataChannel('_reliable');
      await connection.setLocalDescription(await connection.createOffer());
      await connection.setRemoteDescription({ type: 'answer', sdp: onlyData(step.sdp) });
    }
    for (const [at, section] of wanted.slice(1).entries()) {
      const direction = section.match(/^a=(sendonly|recvonly|inactive|sendrecv)/m)[1];
      const rids = [...section.matchAll(/^a=rid:(\S+) send/gm)].map(([, rid]) => ({ rid }));
      const transceiver = connection.getTransceivers()[at];
      if (transceiver) transceiver.direction = direction;
      else connection.addTransceiver(section.split(' ')[0], { direction, ...(rids.length && { sendEncodings: rids }) });
    }
    await connection.setLocalDescription(await connection.createOffer());
    const own = sections(connection.localDescription.sdp);
    const alive = (section) => !/^\S+ 0 /.test(section) || section.includes('a=bundle-only');
    const codecs = (section) => [...formats(section).keys()].filter((codec) => !codec.startsWith('rtx'));
    const same = own.length === wanted.length && own.every((section, at) => alive(section) === alive(wanted[at]) &&
      (at === 0 || codecs(wanted[at]).some((codec) => codecs(section).includes(codec))));
    if (!same) return 'other';
    await connection.setRemoteDescription({ type: 'answer', sdp: translated(step, own) });
    return 'same';
  }

  function sections(sdp) {
    return sdp.split(/^m=/m).slice(1);
  }

  function onlyData(sdp) {
    const [head, data] = sdp.split(/^m=/m);
    const mid = data.match(/^a=mid:(\S+)/m)[1];
    return `${head.replace(/^a=group:BUNDLE .*$/m, `a=group:BUNDLE ${mid}`)}m=${data}`;
  }

  /** The answer with the numbers of the browser's own offer, without what the browser lacks. */
  function translated({ offer: asked, sdp }, own) {
    const [head, ...answers] = sdp.split(/^m=/m);
    return head + answers.map((section, at) => {
      const numbers = new Map();
      const [theirs, ours] = [formats(sections(asked)[at]), formats(own[at])];
      for (const [name, number] of theirs) numbers.set(number, ours.get(name));
      const ids = extensions(own[at]);
      const lines = section.split('\r\n').flatMap((line, index) => {
        if (index === 0 && !line.startsWith('application')) {
          const words = line.split(' ');
          return [[...words.slice(0, 3), ...words.slice(3).flatMap((number) => known(number) ?? [])].join(' ')];
        }
        const extension = line.match(/^a=extmap:\d+(\S*) (\S+)(.*)/);
        if (extension) return ids.has(extension[2]) ? [`a=extmap:${ids.get(extension[2])}${extension[1]} ${extension[2]}${extension[3]}`] : [];
        const format = line.match(/^a=(rtpmap|fmtp|rtcp-fb):(\d+) (.*)/);
        if (!format) return [line];
        if (!known(format[2])) return [];
        const rest = format[3].replace(/^apt=(\d+)/, (_, number) => `apt=${known(number)}`).replace(/^\d+(\/\d+)+$/, (list) => list.split('/').map(known).join('/'));
        return [`a=${format[1]}:${known(format[2])} ${rest}`];
      });
      return `m=${lines.join('\r\n')}`;

      function known(number) {
        if (!numbers.has(number)) throw new Error(`format ${number} was not offered`);
        return numbers.get(number);
      }
    }).join('');
  }

  /** A section's formats: a name that says which one it is, and its number. */
  function formats(section) {
    const parameters = new Map([...section.matchAll(/^a=fmtp:(\d+) (.*)/gm)].map(([, number, text]) => [number, text.trim()]));
    const maps = [...section.matchAll(/^a=rtpmap:(\d+) (\S+)/gm)].map(([, number, name]) => [number, name.toLowerCase()]);
    const names = new Map(maps.map(([number, name]) => [number, name + (name.startsWith('h264') ? h264(parameters.get(number)) : name.startsWith('vp9') ? vp9(parameters.get(number)) : '')]));
    const result = new Map();
    for (const [number, name] of names) {
      const of = name.startsWith('rtx') ? ` of ${names.get(parameters.get(number)?.match(/apt=(\d+)/)?.[1])}` : '';
      if (!result.has(name + of)) result.set(name + of, number);
    }
    return result;
  }

  function h264(text = '') {
    const [profile, mode] = [text.match(/profile-level-id=(\w{4})/i)?.[1], text.match(/packetization-mode=(\d)/)?.[1]];
    return ` ${(profile ?? '4200').toLowerCase()} ${mode ?? 0}`;
  }

  function vp9(text = '') {
    return ` ${text.match(/profile-id=(\d)/)?.[1] ?? 0}`;
  }

  function extensions(section) {
    return new Map([...section.matchAll(/^a=extmap:(\d+)\S* (\S+)/gm)].map(([, id, uri]) => [uri, id]));
  }
}

for (const [name, start] of [['Chromium', startBrowser], ['Firefox', startFirefox]]) {
  test(`descriptions of random calls are read by ${name}`, async (t) => {
    const browser = await start();
    t.after(() => browser.stop());
    let reader = await browser.participant('reader');
    const found = { offers: 0, answers: 0 };
    let connections = 0;
    for await (const line of createInterface({ input: createReadStream(HISTORIES) })) {
      const { seed, kind, steps } = JSON.parse(line);
      // A page may have made 500 that are not collected yet, closed or not.
      connections += 1;
      if (connections % 200 === 0) {
        await reader.stop();
        reader = await browser.participant('reader');
      }
      const { count, error } = await reader.page.evaluate(read, { kind, steps: steps.slice(0, COUNT - found.offers - found.answers) });
      found[kind] += count;
      const { offer, sdp } = steps[count] ?? {};
      assert.equal(error, undefined, `call ${seed}, ${kind}, description ${count}: ${error}\n${offer ?? ''}\n${sdp}`);
      if (found.offers + found.answers === COUNT) break;
    }
    const { offers, answers } = found;
    t.diagnostic(`${offers} offers and ${answers} answers`);
    assert.equal(offers + answers, COUNT, 'the random calls had fewer');
    assert(offers > COUNT / 10 && answers > COUNT / 10, 'both kinds were read');
  });
}
