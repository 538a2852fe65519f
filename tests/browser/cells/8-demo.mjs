// Two people who open the demo page, in either browser.
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { eventually, expect, sleep } from '../lib/call.mjs';
import { mint } from '../lib/token.mjs';

const out = join(dirname(fileURLToPath(import.meta.url)), '../out');

const SIZES = { wide: { width: 1280, height: 800 }, narrow: { width: 390, height: 844 } };

/// Playwright and Puppeteer name it differently.
function resize(page, size) {
  return (page.page.setViewportSize ?? page.page.setViewport).call(page.page, size);
}

/// Fills the form as a user does who has a token: a server in production gives none away.
async function enter(page, token) {
  await page.page.evaluate((value) => {
    document.querySelector('#manual').open = true;
    const field = document.querySelector('#join-form textarea[name=token]');
    field.value = value;
    field.dispatchEvent(new Event('input', { bubbles: true }));
  }, token);
  await page.page.click('#join-form button[type=submit]');
  await eventually(`${page.identity} is in the call`, () =>
    page.page.evaluate(() => document.body.dataset.view === 'call' && document.body.dataset.state === 'connected'),
  10_000);
}

/// The tiles whose picture moved within a second, by the name they show.
function moving(page) {
  return page.page.evaluate(async () => {
    const tiles = [...document.querySelectorAll('#tiles .tile')];
    const moved = await Promise.all(tiles.map((tile) => new Promise((resolve) => {
      const video = tile.querySelector('video');
      const give = () => resolve({ name: tile.querySelector('.name').textContent, width: video.videoWidth });
      setTimeout(() => resolve(null), 1000);
      // The second of two: an old frame is painted once more when a page is looked at.
      video.requestVideoFrameCallback(() => video.requestVideoFrameCallback(give));
    })));
    return moved.filter((tile) => tile && tile.width > 0);
  });
}

async function demo(t, browser) {
  const address = new URL('/demo', t.server.http);
  const response = await fetch(address);
  if (response.status === 404) t.skip(`${address} is not there`);
  expect(response.ok, `${address}: ${response.status}`);
  await mkdir(out, { recursive: true });

  const call = t.call();
  const pages = [];
  for (const identity of ['Ada', 'Ben']) {
    const page = await call.page(identity, browser);
    address.search = new URLSearchParams({ room: call.room, name: identity, picture: 'camera', sound: 'none' });
    await resize(page, SIZES.wide);
    await page.page.goto(String(address));
    if (identity === 'Ada') await page.screenshot(join(out, `demo-${browser}-join.png`));
    await enter(page, await mint(identity, call.room, {}, { name: identity }));
    pages.push(page);
  }
  for (const [page, other] of [[pages[0], 'Ben'], [pages[1], 'Ada']]) {
    await eventually(`${page.identity} sees two pictures move`, async () => {
      const tiles = await moving(page);
      return tiles.length === 2 && tiles.some(({ name }) => name.includes(other));
    }, 15_000);
  }
  for (const [name, size] of Object.entries(SIZES)) {
    await resize(pages[0], size);
    await sleep(800);
    await pages[0].screenshot(join(out, `demo-${browser}-${name}.png`));
    const beyond = await pages[0].page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    expect(beyond <= 0, `${name}: the page is ${beyond} px wider than the window`);
    await eventually(`both pictures move when ${name}`, async () => (await moving(pages[0])).length === 2);
  }
  await pages[1].page.click('#leave');
  await eventually('Ada is alone', () => pages[0].page.evaluate(() =>
    document.querySelectorAll('#tiles .tile').length === 1));
}

export default ['chromium', 'firefox'].map((browser) => (
  { name: `two people in ${browser}`, run: (t) => demo(t, browser) }));
