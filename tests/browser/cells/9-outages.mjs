// Networks that go away for a while, and clients whose address changes: the call goes on, and nobody
// leaves it.
import { startBadCall } from '../lib/badcall.mjs';
import { eventually, events, expect, median, sleep } from '../lib/call.mjs';
import { difference, readMetrics } from '../lib/metrics.mjs';

// Frames close together tell more of a gap.
const VIDEO = { width: 320, height: 180, fps: 30 };

/// A change of the whole path, signaling included, once the client knows of it.
const PATH_CHANGE_MS = 4000;
/// A new port or address of a NAT: the server need not wait for the browser to notice.
const REBIND_MS = 1500;
/// livekit-client gives up a silent socket 6 s after the last answer, and asks every 2 s.
const SILENCE_MS = 6500;

const count = async (page, name) => (await events(page, name)).length;

/// Does `fault`, waits until bob sees frames again after it, and tells how long he saw none.
/// `fault` returns when the network was whole again.
async function gapOf({ alice, bob, server }, fault, timeoutMs) {
  const before = await readMetrics(server);
  const since = await bob.call('now');
  const end = await fault();
  const { value: first } = await eventually('bob sees alice again', () =>
    bob.call('frameAfter', 'alice', 'camera', end), timeoutMs);
  // What the client does about it may come later, and cost another gap.
  await sleep(2500);
  const { longestMs } = await bob.call('frameGap', 'alice', 'camera', since);
  const drawn = await alice.call('drawGap', since);
  const done = [];
  for (const page of [alice, bob]) {
    for (const { event, at } of await page.call('events')) {
      if (['signalReconnecting', 'reconnecting', 'reconnected', 'disconnected'].includes(event) && at >= since) {
        done.push(`${page.identity} ${event} at ${((at - since) / 1000).toFixed(1)} s`);
      }
    }
  }
  return { longestMs, drawnMs: drawn.longestMs, backMs: first - end, done, ...difference(before, await readMetrics(server)) };
}

/// What must hold whatever happened: nobody started anew or left, and both directions work. `anew` is who
/// may have.
async function whole({ call, alice, bob, sids }, anew = null) {
  for (const [page, other] of [[alice, 'bob'], [bob, 'alice']]) {
    const { sid } = await page.call('self');
    expect(sid === sids[page.identity] || page === anew, `${page.identity} has another sid: that is no resume`);
    expect(anew !== null || await count(page, 'participantDisconnected') === 0, `${page.identity} saw ${other} leave`);
  }
  // Signaling and data, both ways.
  const mark = String(Date.now());
  for (const [page, other] of [[alice, bob], [bob, alice]]) {
    await page.call('setAttributes', { mark });
    await eventually(`${other.identity} sees what ${page.identity} set`, async () =>
      (await call.seen(other, page.identity))?.attributes.mark === mark, 10_000);
    await page.call('publishData', mark + page.identity, { reliable: true });
    await eventually(`${other.identity} has the data of ${page.identity}`, async () =>
      (await other.call('received')).data.some(({ text }) => text === mark + page.identity), 10_000);
  }
}

async function start(t, options) {
  const over = await startBadCall(t, { video: VIDEO, ...options });
  const { alice, bob } = over;
  over.sids = { alice: alice.sid, bob: bob.sid };
  // Until the checks of the path are as rare as they get.
  await sleep(t.deep ? 10_000 : 3000);
  return over;
}

function figures(t, name, seen) {
  t.figure(`\n      ${name}:`, `gap ${Math.round(seen.longestMs)} ms (drawn ${seen.drawnMs})`
    + `, frames ${Math.round(seen.backMs)} ms after its end`
    + `, ${seen.done.length > 0 ? seen.done.join(', ') : 'no reconnect'}, resumes ${seen.resumes}, pli out ${seen.plisSent}`);
}

async function outage(t, { browser, side, what, seconds, backMs }) {
  const over = await start(t, { browser, side });
  const seen = await gapOf(over, async () => {
    over.leg.outage(what);
    await sleep(seconds * 1000);
    over.leg.outageEnds();
    return Date.now();
  }, 30_000);
  figures(t, `${seconds} s without ${word(what)}`, seen);
  expect(seen.longestMs >= seconds * 900, `bob saw frames while there was no network: ${seen.longestMs} ms`);
  expect(seen.backMs <= backMs, `frames came ${Math.round(seen.backMs)} ms after the end, allowed are ${backMs}`);
  await settled(over);
  // Firefox gives an ICE restart up while its checks are lost, and livekit-client then starts anew.
  await whole(over, browser === 'firefox' && what === 'udp' && seconds > 15 ? over.away : null);
}

/// Waits until no client is still at a resume.
async function settled({ alice, bob }) {
  for (const page of [alice, bob]) {
    await eventually(`${page.identity} is connected`, async () => (await page.call('self')).state === 'connected', 20_000);
  }
}

/// A NAT that forgets: everything goes on from another port, then from another address.
async function rebind(t, { browser, side }) {
  const over = await start(t, { browser, side });
  const changes = [
    ['another port', () => undefined],
    ['another address', (round) => over.leg.far[(round + 1) % 2]],
  ];
  for (const [name, pick] of changes) {
    const gaps = [];
    for (let round = 0; round < (t.deep ? 5 : 1); round += 1) {
      const seen = await gapOf(over, async () => {
        await over.relay.rebind(pick(round));
        return Date.now();
      }, 15_000);
      figures(t, name, seen);
      gaps.push(seen.longestMs);
      // The next one comes at another phase of the checks.
      await sleep(t.deep ? 5000 + Math.random() * 2500 : 0);
    }
    t.figure(`${name}, median`, median(gaps), ' ms');
    expect(Math.max(...gaps) <= REBIND_MS,
      `${name}: bob saw no frame for ${Math.max(...gaps).toFixed(0)} ms, allowed are ${REBIND_MS}`);
  }
  await settled(over);
  await whole(over);
}

/// The client itself gets another address, or another interface with another address. `noticeMs`: a
/// browser that is not told by its network notices when signaling has been silent for 6 s.
async function move(t, { browser, side, how, noticeMs }) {
  const over = await start(t, { browser, side });
  // Firefox joins anew at the third address within a minute: docs/bad-networks.md.
  const rounds = browser === 'firefox' ? 2 : 3;
  for (let round = 0; round < (t.deep && how === 'changeAddress' ? rounds : 1); round += 1) {
    const seen = await gapOf(over, async () => {
      await over.leg[how]();
      return Date.now();
    }, 45_000);
    figures(t, how === 'changeAddress' ? 'another address' : 'another interface', seen);
    const allowedMs = noticeMs + PATH_CHANGE_MS;
    expect(seen.longestMs <= allowedMs, `bob saw no frame for ${seen.longestMs.toFixed(0)} ms, allowed are ${allowedMs}`);
    await settled(over);
  }
  await whole(over);
}

/// The server's process stands still, as a suspended machine does.
async function standstill(t, { browser, seconds }) {
  const over = await start(t, { browser, side: 'subscriber' });
  const seen = await gapOf(over, async () => {
    process.kill(over.server.pid, 'SIGSTOP');
    await sleep(seconds * 1000);
    process.kill(over.server.pid, 'SIGCONT');
    return Date.now();
  }, 20_000);
  figures(t, `server stopped for ${seconds} s`, seen);
  expect(seen.longestMs >= seconds * 900, 'bob saw frames while the server stood still');
  expect(seen.backMs <= 2000, `frames came ${Math.round(seen.backMs)} ms after the server went on`);
  await settled(over);
  await whole(over);
}

const word = (what) => (what === 'udp' ? 'UDP' : 'network');

const cells = ['chromium', 'firefox'].flatMap((browser) => ['subscriber', 'publisher'].flatMap((side) => [
  {
    name: `NAT forgets the ${side}, ${browser}`,
    deep: browser === 'firefox' || side === 'publisher',
    run: (t) => rebind(t, { browser, side }),
  },
  ...[['all', 5, 6000], ['udp', 5, 4000], ['all', 25, 12_000], ['udp', 25, browser === 'firefox' ? 12_000 : 6000]].map(([what, seconds, backMs]) => ({
    name: `${seconds} s without ${word(what)} at the ${side}, ${browser}`,
    deep: !(browser === 'chromium' && side === 'subscriber' && seconds === 5 && what === 'all'),
    run: (t) => outage(t, { browser, side, what, seconds, backMs }),
  })),
  {
    name: `another interface of the ${side}, ${browser}`,
    deep: true,
    run: (t) => move(t, { browser, side, how: 'changeInterface', noticeMs: browser === 'chromium' ? 0 : SILENCE_MS }),
  },
  {
    name: `another address of the ${side}, ${browser}`,
    deep: true,
    run: (t) => move(t, { browser, side, how: 'changeAddress', noticeMs: SILENCE_MS }),
  },
]));

export default [
  ...cells,
  { name: 'server stopped for 3 s', run: (t) => standstill(t, { browser: 'chromium', seconds: 3 }) },
  { name: 'server stopped for 12 s', run: (t) => standstill(t, { browser: 'firefox', seconds: 12 }), deep: true },
];
