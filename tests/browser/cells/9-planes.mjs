// Data plane and control plane as two processes, each of them killed during a call.
import { createServer } from 'node:net';
import { eventually, events, expect, sleep } from '../lib/call.mjs';
import { binary, run } from '../lib/server.mjs';

async function count(page, name) {
  return (await events(page, name)).length;
}

const again = (page, name, before, timeoutMs = 15_000) =>
  eventually(`${page.identity} sees ${name}`, async () => await count(page, name) > before, timeoutMs);

/// Alice and bob see each other.
async function mutual(call, browser, single) {
  const bob = await call.join('bob', browser, { single });
  const alice = await call.join('alice', browser, { single });
  // Frames close together tell more of a gap.
  await call.video(alice, [bob], { width: 320, height: 180, fps: 30 });
  await call.video(bob, [alice], { width: 320, height: 180, fps: 30 });
  return { alice, bob };
}

const decodes = (page, identity) => eventually(`${page.identity} decodes ${identity}`, async () => {
  const before = await page.call('inbound', identity, 'camera');
  if (!before) return false;
  await sleep(300);
  return (await page.call('inbound', identity, 'camera'))?.framesDecoded > before.framesDecoded;
}, 15_000);

/// What is sent each way, as the other one's statistics have it.
async function received(alice, bob) {
  const [atBob, atAlice] = await Promise.all([
    bob.call('inbound', 'alice', 'camera'), alice.call('inbound', 'bob', 'camera')]);
  return { lost: atBob.packetsLost + atAlice.packetsLost, frames: [atBob.framesDecoded, atAlice.framesDecoded] };
}

/// Everything a client may want still works.
async function works(call, alice, bob, browser, single) {
  await alice.call('mute', 'camera');
  await eventually('bob sees it muted', async () => (await call.seen(bob, 'alice'))?.tracks[0]?.muted);
  await alice.call('unmute', 'camera');
  await decodes(bob, 'alice');
  await bob.call('setSubscribed', 'alice', 'camera', false);
  await eventually('bob has unsubscribed', async () => !(await call.seen(bob, 'alice'))?.tracks[0]?.subscribed);
  await bob.call('setSubscribed', 'alice', 'camera', true);
  await decodes(bob, 'alice');
  await alice.call('publishData', 'still there', { reliable: true });
  await eventually('bob has the data', async () =>
    (await bob.call('received')).data.some(({ text, from }) => text === 'still there' && from === 'alice'));
  const carol = await call.join('carol', browser, { single });
  await Promise.all([decodes(carol, 'alice'), decodes(carol, 'bob')]);
  await call.video(carol, [alice, bob], { width: 320, height: 180 });
  await bob.call('unpublish', 'camera');
  await eventually('alice sees it go', async () => (await call.seen(alice, 'bob'))?.tracks.length === 0);
}

async function controlKilled(t, browser, single, signal = 'SIGKILL') {
  const planes = await t.startPlanes();
  const call = t.call({ server: planes });
  const { alice, bob } = await mutual(call, browser, single);
  const calm = await bob.call('now');
  await sleep(2000);
  const uncut = (await bob.call('frameGap', 'alice', 'camera', calm)).longestMs;
  t.figure('gap when nothing is cut', uncut, ' ms');
  const sids = [(await alice.call('self')).sid, (await bob.call('self')).sid];
  const tracks = (await call.seen(bob, 'alice')).tracks.map(({ sid }) => sid);

  const reconnected = [await count(alice, 'reconnected'), await count(bob, 'reconnected')];
  const before = await received(alice, bob);
  const since = await bob.call('now');
  const start = Date.now();
  await planes.control.kill(signal);
  // Media does not need it.
  await sleep(1000);
  planes.control.start();
  await planes.ready();
  await Promise.all([again(alice, 'reconnected', reconnected[0]), again(bob, 'reconnected', reconnected[1])]);
  t.figure('both resumed after', Date.now() - start, ' ms');
  await sleep(1500);

  const gap = await bob.call('frameGap', 'alice', 'camera', since);
  const drawn = await alice.call('drawGap', since);
  const after = await received(alice, bob);
  t.figure('gap', gap.longestMs, ' ms');
  t.figure('packets lost', after.lost - before.lost);
  expect(after.lost === before.lost, `${after.lost - before.lost} packets were lost`);
  expect(gap.count > 0 && gap.longestMs <= 300,
    `bob saw no frame for ${gap.longestMs.toFixed(0)} ms (alice drew none for ${drawn.longestMs} ms)`);
  for (const [at, frames] of after.frames.entries()) {
    expect(frames > before.frames[at], 'a picture stands still');
  }
  expect((await alice.call('self')).sid === sids[0] && (await bob.call('self')).sid === sids[1],
    'the sids changed: that is no resume');
  expect(JSON.stringify((await call.seen(bob, 'alice')).tracks.map(({ sid }) => sid)) === JSON.stringify(tracks),
    'the tracks changed');
  for (const page of [alice, bob]) {
    expect(await count(page, 'reconnecting') === 0, `${page.identity} started anew`);
    expect(await count(page, 'participantDisconnected') === 0, `${page.identity} saw the other leave`);
    expect(await count(page, 'trackUnsubscribed') === 0, `${page.identity} lost a track`);
  }
  await works(call, alice, bob, browser, single);
}

async function dataKilled(t, browser, single) {
  const planes = await t.startPlanes();
  const call = t.call({ server: planes });
  const { alice, bob } = await mutual(call, browser, single);
  const before = [await count(alice, 'reconnected'), await count(bob, 'reconnected')];
  const start = Date.now();
  await planes.data.kill();
  const { ms: noticed } = await eventually('health says not ready', async () =>
    (await fetch(planes.http)).status === 503, 2000);
  t.figure('not ready after', noticed, ' ms');
  planes.data.start();
  await planes.ready();
  await Promise.all([again(alice, 'reconnected', before[0]), again(bob, 'reconnected', before[1])]);
  await Promise.all([decodes(alice, 'bob'), decodes(bob, 'alice')]);
  const ms = Date.now() - start;
  t.figure('both back after', ms, ' ms');
  expect(ms <= 10_000, `both were back after ${ms} ms`);
  for (const page of [alice, bob]) {
    expect(await count(page, 'reconnecting') > 0, `${page.identity} did not start anew`);
  }
}

/// A plane that ends with a sentence.
async function refused(command, body) {
  const log = [];
  const plane = run([binary, command], body, log);
  const ended = await Promise.race([plane.exit, sleep(5000)]);
  plane.child.kill('SIGKILL');
  expect(ended?.code === 1, `${command} ended with ${JSON.stringify(ended)}: ${log.join('\n')}`);
  return log.at(-1);
}

async function sentences(t) {
  const planes = await t.startPlanes();
  const port = /^port: \d+/;
  const second = await refused('controlplane', planes.body.replace(port, 'port: 19999'));
  expect(second.includes(`process ${planes.control.pid}`), `no word of the other one: ${second}`);
  const other = await refused('dataplane', planes.body.replace(/udp_port: \d+/, 'udp_port: 19998'));
  expect(other.includes('another data plane serves'), other);

  // A data plane of another release: it greets with its own version of the link.
  const socket = `${planes.socket}.other`;
  const stranger = createServer((connection) => {
    const payload = Buffer.concat([Buffer.from('millrace'), Buffer.from([0xe7, 3, 0, 0, 0])]);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(payload.length);
    connection.on('error', () => {});
    connection.write(Buffer.concat([length, payload]));
  });
  await new Promise((resolve) => { stranger.listen(socket, resolve); });
  t.atEnd(async () => stranger.close());
  const body = planes.body.replace(port, 'port: 19999').replace(planes.socket, socket);
  const mismatch = await refused('controlplane', body);
  t.figure('mismatch', `"${mismatch}"`);
  expect(mismatch.includes('version 999') && mismatch.includes('same release'), mismatch);
}

const kind = (single) => `${single ? 'single' : 'dual'} peer connection`;
const kinds = ['chromium', 'firefox'].flatMap((browser) => [true, false].map((single) => [browser, single]));

export default [
  ...kinds.map(([browser, single]) => (
    { name: `control plane killed, ${browser}, ${kind(single)}`, run: (t) => controlKilled(t, browser, single) })),
  { name: 'control plane restarted in order', run: (t) => controlKilled(t, 'chromium', true, 'SIGTERM') },
  ...kinds.map(([browser, single], at) => (
    { name: `data plane killed, ${browser}, ${kind(single)}`, run: (t) => dataKilled(t, browser, single), deep: at > 1 })),
  { name: 'refusals', run: sentences },
];
