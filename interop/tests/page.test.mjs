// The page that the binary serves: two tabs see and hear each other, chat, and look like a product.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { startBrowser } from '../lib/clients.mjs';
import { startServer } from '../lib/server.mjs';

const shots = fileURLToPath(new URL('../../target/screens/', import.meta.url));
let server;
let browser;
let ada;
let ben;

async function open(name) {
  const page = await browser.context.newPage();
  if (process.env.CLIENT_LOG) page.on('console', (message) => console.error(`${name}: ${message.text()}`));
  await page.goto(`${server.http}/?name=${name}&room=demo&join=1`);
  return page;
}

before(async () => {
  await mkdir(shots, { recursive: true });
  server = await startServer({ config: 'plenum:\n  page:\n    enabled: true\n' });
  browser = await startBrowser();
  ada = await open('Ada');
  ben = await open('Ben');
});

after(async () => {
  await browser?.stop();
  await server?.stop();
});

test('two tabs of the page see and hear each other', async () => {
  for (const [page, other] of [[ada, 'Ben'], [ben, 'Ada']]) {
    await page.waitForFunction((who) => {
      const video = [...document.querySelectorAll('.tile')].find((tile) => tile.dataset.identity.startsWith(who))?.querySelector('video');
      return video && video.videoWidth > 0 && video.currentTime > 1;
    }, other, { timeout: 40_000 });
    await page.waitForFunction(async () => {
      for (const participant of window.plenumRoom.remoteParticipants.values()) {
        for (const publication of participant.audioTrackPublications.values()) {
          for (const entry of (await publication.track?.getRTCStatsReport())?.values() ?? []) {
            if (entry.type === 'inbound-rtp' && entry.totalAudioEnergy > 0.0001) return true;
          }
        }
      }
      return false;
    }, undefined, { timeout: 40_000, polling: 250 });
  }
});

test('chat written in one tab is read in the other', async () => {
  await ada.keyboard.press('c');
  await ben.keyboard.press('c');
  await ada.getByLabel('Message', { exact: true }).fill('Hello from the first tab');
  await ada.keyboard.press('Enter');
  await ben.getByText('Hello from the first tab').waitFor({ timeout: 10_000 });
});

test('the quality overlay names codec, size, bitrate and loss', async () => {
  await ada.keyboard.press('Escape');
  await ada.keyboard.press('q');
  await ada.waitForFunction(() => {
    const tile = [...document.querySelectorAll('.tile')].find((one) => one.dataset.identity.startsWith('Ben'));
    return /\d+×\d+/.test(tile?.querySelector('.overlay').textContent) && /bit\/s/.test(tile.querySelector('.overlay').textContent);
  }, undefined, { timeout: 15_000 });
});

test('the page fits light, dark and phone width', async () => {
  for (const [name, colorScheme, size] of [
    ['light', 'light', { width: 1280, height: 800 }],
    ['dark', 'dark', { width: 1280, height: 800 }],
    ['phone-chat', 'light', { width: 390, height: 844 }],
    ['phone', 'dark', { width: 390, height: 844 }],
  ]) {
    if (name === 'phone') await ada.keyboard.press('c');
    await ada.emulateMedia({ colorScheme });
    await ada.setViewportSize(size);
    await ada.screenshot({ path: `${shots}call-${name}.png` });
    const overflow = await ada.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(overflow <= 0, `${name}: the page is ${overflow} px too wide`);
  }
});

test('a lost signal connection is shown and comes back', async () => {
  const before = await ada.evaluate(() => window.plenumRoom.localParticipant.sid);
  const resumed = ada.evaluate(
    () =>
      new Promise((resolve) => {
        let shown = '';
        window.plenumRoom.once('signalReconnecting', () => (shown = document.querySelector('.banner').textContent));
        window.plenumRoom.once('reconnected', () => resolve(shown));
        void window.plenumRoom.simulateScenario('signal-reconnect');
      }),
  );
  assert.match(await resumed, /reconnecting/);
  assert.equal(await ada.evaluate(() => window.plenumRoom.localParticipant.sid), before);
});

test('leaving leads back to the lobby and the other tab notices', async () => {
  await ada.keyboard.press('l');
  await ada.getByRole('button', { name: 'Join' }).waitFor();
  await ada.screenshot({ path: `${shots}lobby-phone.png` });
  assert.ok((await ada.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0, 'the lobby is too wide');
  await ben.getByText('Only you are here').waitFor({ timeout: 15_000 });
});
