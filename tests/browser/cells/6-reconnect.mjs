// What a cut, a restart and an end of the server do to a call, and what joins and leaves leave behind.
import { readFile, readdir } from 'node:fs/promises';
import { eventually, events, expect, sleep } from '../lib/call.mjs';
import { startRelay } from '../lib/relay.mjs';

// livekit-client's numbers.
const DUPLICATE_IDENTITY = 2;
const SERVER_SHUTDOWN = 3;

async function count(page, name) {
  return (await events(page, name)).length;
}

/// Waits until `page` has seen `name` more than `before` times.
function again(page, name, before, timeoutMs) {
  return eventually(`${page.identity} sees ${name}`, async () => await count(page, name) > before, timeoutMs);
}

/// Cuts one page's signaling and measures how long bob gets no frame of alice.
async function cut(t, relay, page, { alice, bob }) {
  const { sid } = await page.call('self');
  const [reconnected, full] = [await count(page, 'reconnected'), await count(page, 'reconnecting')];
  const since = await bob.call('now');
  expect(relay.cut() > 0, `${page.identity} had no connection to cut`);
  await again(page, 'reconnected', reconnected, 10_000);
  await sleep(1500);
  const { longestMs, count: frames } = await bob.call('frameGap', 'alice', 'camera', since);
  const self = await page.call('self');
  t.figure(`gap when ${page.identity} is cut`, longestMs, ' ms');
  expect(self.sid === sid, `${page.identity} was ${sid} and is ${self.sid}: that is no resume`);
  expect(await count(page, 'reconnecting') === full, `${page.identity} started anew`);
  const drawn = await alice.call('drawGap', since);
  expect(frames > 0 && longestMs <= 300, `${page.identity} cut: bob saw no frame for ${longestMs.toFixed(0)} ms`
    + ` (alice drew none for ${drawn.longestMs} ms)`);
}

async function resume(t, browser, single) {
  const call = t.call();
  const relays = {};
  for (const identity of ['alice', 'bob']) {
    relays[identity] = await startRelay({ host: t.server.host, port: t.server.port });
    t.atEnd(relays[identity].close);
  }
  const bob = await call.join('bob', browser, { single, url: relays.bob.url });
  const alice = await call.join('alice', browser, { single, url: relays.alice.url });
  // Frames close together tell more of a gap.
  await call.video(alice, [bob], { width: 320, height: 180, fps: 30 });
  const since = await bob.call('now');
  await sleep(2000);
  t.figure('gap when nothing is cut', (await bob.call('frameGap', 'alice', 'camera', since)).longestMs, ' ms');
  for (let round = 0; round < (t.deep ? 5 : 1); round += 1) {
    await cut(t, relays.bob, bob, { alice, bob });
    await cut(t, relays.alice, alice, { alice, bob });
  }
  for (const [page, other] of [[alice, 'bob'], [bob, 'alice']]) {
    expect(await count(page, 'participantDisconnected') === 0, `${page.identity} saw ${other} leave`);
  }
  // Signaling is whole again in both directions.
  await alice.call('setAttributes', { back: 'yes' });
  await eventually('bob sees what alice set', async () => (await call.seen(bob, 'alice'))?.attributes.back === 'yes');
  await alice.call('publishData', 'after the cut', { reliable: true });
  await eventually('bob has the data', async () =>
    (await bob.call('received')).data.some(({ text }) => text === 'after the cut'));
}

/// Two pages that publish to each other.
async function mutual(call, single) {
  const bob = await call.join('bob', 'chromium', { single });
  const alice = await call.join('alice', 'chromium', { single });
  await call.video(alice, [bob], { width: 320, height: 180 });
  await call.video(bob, [alice], { width: 320, height: 180 });
  return { alice, bob };
}

const fresh = (page, identity) => eventually(`${page.identity} decodes ${identity} afresh`, async () => {
  const { framesDecoded } = await page.call('inbound', identity, 'camera') ?? { framesDecoded: 0 };
  if (framesDecoded === 0) return false;
  await sleep(300);
  return (await page.call('inbound', identity, 'camera'))?.framesDecoded > framesDecoded;
}, 20_000);

async function serverRestart(t, single) {
  const server = await t.startServer();
  const call = t.call({ server });
  const { alice, bob } = await mutual(call, single);
  const before = [await count(alice, 'reconnected'), await count(bob, 'reconnected')];
  const start = Date.now();
  await server.restart('SIGKILL');
  t.figure('server back after', Date.now() - start, ' ms');
  await Promise.all([again(alice, 'reconnected', before[0], 20_000), again(bob, 'reconnected', before[1], 20_000)]);
  await Promise.all([fresh(alice, 'bob'), fresh(bob, 'alice')]);
  const ms = Date.now() - start;
  t.figure('both back after', ms, ' ms');
  expect(ms <= 10_000, `both were back after ${ms} ms`);
}

async function fullReconnect(t, single) {
  const call = t.call();
  const { alice, bob } = await mutual(call, single);
  const { sid } = await alice.call('self');
  const before = await count(alice, 'reconnected');
  const start = Date.now();
  await alice.call('simulate', 'full-reconnect');
  await again(alice, 'reconnected', before, 10_000);
  await eventually('bob sees the new alice alone', async () => {
    const others = await bob.call('participants');
    return others.length === 1 && others[0].identity === 'alice' && others[0].sid !== sid;
  });
  await Promise.all([fresh(alice, 'bob'), fresh(bob, 'alice')]);
  t.figure('media both ways after', Date.now() - start, ' ms');
  expect((await alice.call('self')).sid !== sid, 'alice kept her sid: nothing was started anew');
}

async function termination(t) {
  const server = await t.startServer();
  const call = t.call({ server });
  const { alice, bob } = await mutual(call, true);
  const start = Date.now();
  const ended = await Promise.race([server.stop('SIGTERM'), sleep(2500)]);
  const ms = Date.now() - start;
  expect(ended && ms <= 2000, `the server still ran ${ms} ms after SIGTERM`);
  t.figure('ended after', ms, ' ms');
  expect(ended.code === 0, `it ended with ${JSON.stringify(ended)}`);
  for (const page of [alice, bob]) {
    // A socket that only closes makes the client try to resume; a leave ends it or starts it anew.
    const { value: [first] } = await eventually(`${page.identity} learns of the end`, async () => {
      const found = (await page.call('events')).filter(({ event, at }) =>
        at >= start && ['signalReconnecting', 'reconnecting', 'disconnected'].includes(event));
      return found.length > 0 && found;
    });
    t.figure(page.identity, first.event);
    expect(first.event === 'reconnecting'
      || (first.event === 'disconnected' && first.detail[0] === SERVER_SHUTDOWN),
    `${page.identity} was not told: ${first.event} ${JSON.stringify(first.detail)}`);
  }
}

async function duplicate(t) {
  const call = t.call();
  const bob = await call.join('bob', 'chromium');
  const first = await call.join('alice', 'chromium');
  const second = await call.page('alice again', 'chromium');
  const joined = await second.call('connect', call.url, await call.token('alice'));
  const { value: [left] } = await eventually('the first alice is out', async () => {
    const found = await events(first, 'disconnected');
    return found.length > 0 && found;
  });
  expect(left.detail[0] === DUPLICATE_IDENTITY, `the first alice left for reason ${left.detail[0]}`);
  await eventually('bob sees the second alice', async () => (await call.seen(bob, 'alice'))?.sid === joined.sid);
  expect((await bob.call('participants')).length === 1, 'bob sees more than one alice');
}

/// What a process holds.
async function footprint(pid) {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const number = (name) => Number(status.match(new RegExp(`^${name}:\\s+(\\d+)`, 'm'))[1]);
  return { rssKib: number('VmRSS'), threads: number('Threads'), fds: (await readdir(`/proc/${pid}/fd`)).length };
}

// An allocator keeps some pages and a metric some names; sockets and threads have no excuse.
const RSS_GROWTH_KIB_MAX = 8192;
const FD_GROWTH_MAX = 2;

async function churn(t) {
  const server = await t.startServer();
  const call = t.call({ server });
  const page = await call.page('light', 'chromium');
  const join = async (rounds) => {
    const tokens = await Promise.all(Array.from({ length: rounds }, (_, i) => call.token(`guest-${i}`)));
    await page.call('churn', server.url, tokens);
  };
  // The first joins fill pools and start lazy threads.
  await join(10);
  await sleep(2000);
  const before = await footprint(server.pid);
  const rounds = t.deep ? 500 : 20;
  const start = Date.now();
  for (let done = 0; done < rounds; done += 20) await join(Math.min(20, rounds - done));
  t.figure('joins and leaves', rounds);
  t.figure('each', (Date.now() - start) / rounds, ' ms');
  let after;
  const settled = () => after.rssKib - before.rssKib <= RSS_GROWTH_KIB_MAX
    && after.fds - before.fds <= FD_GROWTH_MAX && after.threads <= before.threads;
  await eventually('back to the start', async () => {
    after = await footprint(server.pid);
    return settled();
  }, 30_000).catch(() => {});
  t.figure('rss', `${before.rssKib} -> ${after.rssKib} KiB`);
  t.figure('fds', `${before.fds} -> ${after.fds}`);
  t.figure('threads', `${before.threads} -> ${after.threads}`);
  expect(settled(), `${rounds} joins and leaves left something behind`);
}

const kind = (single) => `${single ? 'single' : 'dual'} peer connection`;

export default [
  ...['chromium', 'firefox'].flatMap((browser) => [true, false].map((single) => (
    { name: `cut signaling resumes, ${browser}, ${kind(single)}`, run: (t) => resume(t, browser, single) }))),
  { name: `server restart, ${kind(true)}`, run: (t) => serverRestart(t, true) },
  { name: `server restart, ${kind(false)}`, run: (t) => serverRestart(t, false), deep: true },
  { name: `full reconnect, ${kind(true)}`, run: (t) => fullReconnect(t, true) },
  { name: `full reconnect, ${kind(false)}`, run: (t) => fullReconnect(t, false), deep: true },
  { name: 'SIGTERM', run: termination },
  { name: 'duplicate identity', run: duplicate },
  { name: 'joins and leaves leave nothing behind', run: churn },
];
