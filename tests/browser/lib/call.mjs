// A room with pages in it, and what cells check of them.
import { mint } from './token.mjs';

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

let rooms = 0;

export class Failure extends Error {}

/// Throws unless `condition`, with a sentence that shows the figure.
export function expect(condition, sentence) {
  if (!condition) throw new Failure(sentence);
}

/// Repeats `read` until it is truthy. Returns it with the time it took.
export async function eventually(what, read, timeoutMs = 5000) {
  const start = Date.now();
  let last;
  for (;;) {
    last = await read();
    if (last) return { value: last, ms: Date.now() - start };
    if (Date.now() - start > timeoutMs) throw new Failure(`not within ${timeoutMs} ms: ${what}`);
    await sleep(25);
  }
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

/// One room. Pages are opened in the browsers given, and closed with the call. `server` and `site`
/// stand in for those all cells share.
export class Call {
  constructor(context, { server = context.server, site = context.site } = {}) {
    Object.assign(this, { context, server, site, url: server.url });
    rooms += 1;
    this.room = `room-${process.pid}-${rooms}`;
    this.pages = new Map();
  }

  /// Opens a page for `identity`, or returns the one that is open. `browser` is a name, or a
  /// browser of the cell's own.
  async page(identity, browser) {
    let page = this.pages.get(identity);
    if (!page) {
      const started = typeof browser === 'string' ? await this.context.browser(browser) : browser;
      page = await started.newPage(this.site.url);
      page.identity = identity;
      this.pages.set(identity, page);
    }
    return page;
  }

  token(identity, grant = {}, options = {}) {
    return mint(identity, this.room, grant, options);
  }

  /// Opens a page and connects it as `identity`. `url` is where this page finds the server.
  async join(identity, browser, { single = true, options = {}, connect = {}, grant = {}, token = {}, url = this.url } = {}) {
    const page = await this.page(identity, browser);
    const joined = await page.call('connect', url, await this.token(identity, grant, token),
      { singlePeerConnection: single, ...options }, connect);
    page.connectMs = joined.ms;
    page.sid = joined.sid;
    return page;
  }

  /// Publishes a picture from one page and waits until the others decode it. Returns the slowest
  /// time from publishing to the first frame, in ms.
  async video(from, to, options = {}) {
    const source = options.source ?? 'camera';
    const published = await from.call('publishVideo', options);
    const firsts = await Promise.all(to.map((page) =>
      page.call('firstFrameAt', from.identity, source, options.timeoutMs ?? 10000)));
    return Math.max(...firsts) - published.at;
  }

  async leave(page) {
    await page.call('disconnect');
  }

  async close() {
    for (const page of this.pages.values()) await page.close().catch(() => {});
  }

  /// What a page tells of another participant.
  async seen(page, identity) {
    return (await page.call('participants')).find((participant) => participant.identity === identity);
  }

  /// What pages logged, for a failed cell.
  logs() {
    return [...this.pages].map(([identity, page]) =>
      `--- ${identity} (${page.browser})\n${page.log.slice(-15).join('\n')}`).join('\n');
  }
}

/// The events of one name that a page has seen.
export async function events(page, name) {
  return (await page.call('events')).filter(({ event }) => event === name);
}

/// Frames advance for `seconds` without a freeze.
export async function flows(page, identity, source, seconds) {
  const before = await page.call('inbound', identity, source);
  let last = before.framesDecoded;
  for (let second = 0; second < seconds; second += 1) {
    await sleep(1000);
    const now = await page.call('inbound', identity, source);
    expect(now.framesDecoded > last, `${page.identity}: no new frame of ${identity}/${source} in second ${second + 1}`);
    last = now.framesDecoded;
  }
  const after = await page.call('inbound', identity, source);
  const frozen = after.totalFreezesDuration - before.totalFreezesDuration;
  expect(frozen < 0.5, `${page.identity}: ${identity}/${source} froze for ${frozen.toFixed(2)} s`);
  return { fps: (after.framesDecoded - before.framesDecoded) / seconds, frozen };
}
