// Browsers and their pages. Chromium is driven by Playwright, Firefox by Puppeteer over WebDriver
// BiDi; both as the distribution ships them, without any switch that touches ICE.
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import puppeteer from 'puppeteer-core';
import { startSound } from './sound.mjs';

const here = dirname(fileURLToPath(import.meta.url));

const FILES = {
  '/': [join(here, '../page/index.html'), 'text/html'],
  '/page.js': [join(here, '../page/page.js'), 'text/javascript'],
  '/measure.js': [join(here, '../page/measure.js'), 'text/javascript'],
  '/sources.js': [join(here, '../page/sources.js'), 'text/javascript'],
  '/livekit-client.umd.js': [
    join(here, '../node_modules/livekit-client/dist/livekit-client.umd.js'),
    'text/javascript',
  ],
};

/// Serves the test page; returns its address and how to stop.
export async function servePage(host = 'localhost') {
  const server = createServer(async (request, response) => {
    const file = FILES[new URL(request.url, 'http://x').pathname];
    if (!file) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { 'content-type': file[1] }).end(await readFile(file[0]));
  });
  await new Promise((resolve) => server.listen(0, host, resolve));
  const name = host.includes(':') ? `[${host}]` : host;
  return { url: `http://${name}:${server.address().port}/`, close: () => server.close() };
}

const CHROMIUM_ARGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
  '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
  '--autoplay-policy=no-user-gesture-required', '--disable-background-timer-throttling',
  '--disable-renderer-backgrounding', '--disable-backgrounding-occluded-windows',
];

// As Playwright opens Chromium's.
const VIEWPORT = { width: 1280, height: 720 };

const FIREFOX_PREFS = {
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  'media.autoplay.default': 0,
  'media.autoplay.blocking_policy': 0,
  'media.gmp-manager.updateEnabled': false,
  'app.update.enabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
};

/// Starts `name` ('chromium' or 'firefox'). `newPage()` gives a page with `call(fn, ...args)`,
/// which runs one of the page's test functions.
export async function startBrowser(name, { executablePath, args = [], debuggingPort } = {}) {
  if (name === 'chromium') {
    const browser = await chromium.launch({
      executablePath: executablePath ?? '/usr/bin/chromium', args: [...CHROMIUM_ARGS, ...args],
    });
    return {
      name,
      async newPage(url) {
        const context = await browser.newContext();
        const page = await context.newPage();
        return adapt(name, page, url, (fn, argument) => page.evaluate(fn, argument), () => context.close());
      },
      close: () => browser.close(),
    };
  }
  const sound = await startSound();
  const browser = await puppeteer.launch({
    browser: 'firefox', executablePath: executablePath ?? '/usr/bin/firefox-esr', headless: true,
    defaultViewport: VIEWPORT,
    extraPrefsFirefox: FIREFOX_PREFS, args, debuggingPort, protocolTimeout: 120_000,
    env: { ...process.env, ...sound.env },
  });
  return {
    name,
    async newPage(url) {
      // A tab behind another one is throttled to one timer a second, so every page has a window.
      const page = await browser.newPage({ type: 'window' });
      return adapt(name, page, url, (fn, argument) => page.evaluate(fn, argument), () => page.close());
    },
    async close() {
      await browser.close();
      await sound.close();
    },
  };
}

async function adapt(browser, page, url, evaluate, close) {
  const log = [];
  page.on('console', (message) => log.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => log.push(`pageerror: ${error.message ?? error}`));
  await page.goto(url);
  return {
    browser,
    page,
    log,
    close,
    call: (name, ...args) =>
      evaluate(({ name, args }) => window.t[name](...args), { name, args }),
    screenshot: (path) => page.screenshot({ path }),
  };
}
