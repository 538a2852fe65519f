// Six participants in one room, with what an application switches on for that: adaptive stream and
// dynacast.
import { eventually, expect, sleep } from '../lib/call.mjs';

const PEOPLE = [
  { identity: 'ada', browser: 'chromium', single: true, simulcast: true, width: 640, height: 360 },
  { identity: 'ben', browser: 'chromium', single: false, screen: true },
  { identity: 'cem', browser: 'chromium', single: true },
  { identity: 'dot', browser: 'chromium', single: false },
  { identity: 'eva', browser: 'firefox', single: true, screen: true },
  { identity: 'fay', browser: 'firefox', single: false },
];

const OPTIONS = { adaptiveStream: true, dynacast: true };

function shuffled(list) {
  return list.map((value) => [Math.random(), value]).sort(([a], [b]) => a - b).map(([, value]) => value);
}

async function joined(t, call) {
  const order = shuffled(PEOPLE);
  t.figure('order', order.map(({ identity }) => identity).join(' '));
  const pages = new Map();
  for (const person of order) {
    const { identity, browser, single, screen, simulcast = false, width = 320, height = 180 } = person;
    const page = await call.join(identity, browser, { single, options: OPTIONS });
    pages.set(identity, page);
    await page.call('publishVideo', { width, height, fps: 8, simulcast });
    if (screen) await page.call('publishVideo', { width: 320, height: 180, fps: 8, source: 'screen_share' });
  }
  return pages;
}

/// What `identity` must decode: all cameras and screens but its own.
function expected(identity) {
  return PEOPLE.filter((person) => person.identity !== identity).flatMap((person) =>
    [`${person.identity}/camera`, ...(person.screen ? [`${person.identity}/screen_share`] : [])]);
}

async function everyoneSeesEveryone(t, pages) {
  const { ms } = await eventually('everyone decodes everyone', async () => {
    const all = await Promise.all([...pages].map(async ([identity, page]) => {
      const videos = await page.call('inboundVideos');
      return expected(identity).every((key) => videos[key]?.framesDecoded > 0);
    }));
    return all.every(Boolean);
  }, 20_000).catch(async (error) => {
    for (const [identity, page] of pages) {
      const videos = await page.call('inboundVideos');
      const missing = expected(identity).filter((key) => !(videos[key]?.framesDecoded > 0));
      if (missing.length > 0) error.message += `; ${identity} lacks ${missing.join(' ')}`;
    }
    throw error;
  });
  t.figure('all decode after the last publication', ms, ' ms');

  const read = () => Promise.all([...pages.values()].map((page) => page.call('inboundVideos')));
  const before = await read();
  await sleep(t.deep ? 10_000 : 3000);
  const after = await read();
  let slowest = Infinity;
  [...pages.keys()].forEach((identity, index) => {
    for (const key of expected(identity)) {
      const fresh = after[index][key].framesDecoded - before[index][key].framesDecoded;
      slowest = Math.min(slowest, fresh);
      expect(fresh > 0, `${identity} decodes no fresh frame of ${key}`);
    }
  });
  t.figure('fewest fresh frames', slowest);
}

/// A hidden video stops within 2 s, and is back within 1 s of being shown.
async function hideAndShow(t, viewer, identity) {
  const frames = async () => (await viewer.call('inbound', identity, 'camera')).framesReceived;
  await viewer.call('hide', identity, 'camera', true);
  await sleep(2000);
  const stopped = await frames();
  await sleep(1000);
  const late = await frames() - stopped;
  expect(late === 0, `${viewer.identity} got ${late} frames of ${identity} from 2 s after hiding it`);

  const decoded = (await viewer.call('inbound', identity, 'camera')).framesDecoded;
  await viewer.call('hide', identity, 'camera', false);
  const { ms } = await eventually(`${identity} is back for ${viewer.identity}`, async () =>
    (await viewer.call('inbound', identity, 'camera')).framesDecoded > decoded, 5000);
  t.figure(`${viewer.browser} shown again`, ms, ' ms');
  expect(ms <= 1000, `a video shown again took ${ms} ms on ${viewer.identity}`);
}

/// The layer follows the size of the element.
async function resize(t, viewer, identity) {
  const width = async () => (await viewer.call('inbound', identity, 'camera')).frameWidth;
  await viewer.call('resize', identity, 'camera', 640, 360);
  const up = await eventually(`${viewer.identity} gets ${identity} 640 wide`, async () => await width() === 640, 15_000);
  await viewer.call('resize', identity, 'camera', 160, 90);
  const down = await eventually(`${viewer.identity} gets ${identity} smaller`, async () => {
    const now = await width();
    return now > 0 && now <= 320;
  }, 5000);
  t.figure(`${viewer.browser} larger`, up.ms, ' ms');
  t.figure('smaller', down.ms, ' ms');
}

async function six(t) {
  const call = t.call();
  const pages = await joined(t, call);
  await everyoneSeesEveryone(t, pages);
  for (const viewer of ['cem', 'fay']) {
    await hideAndShow(t, pages.get(viewer), 'dot');
    await resize(t, pages.get(viewer), 'ada');
  }
}

/// The same six on as many shards that share one UDP port: the kernel places each connection, and
/// most videos cross from one shard to another.
async function acrossShards(t) {
  const server = await t.startServer({ config: 'dataplane:\n  shards: 3\n  placement: spread\n' });
  const pages = await joined(t, t.call({ server }));
  await everyoneSeesEveryone(t, pages);
  const text = await (await fetch(`${server.http}/metrics`)).text();
  const counted = (name) => [...text.matchAll(new RegExp(`^${name}_total\\{.*\\} (\\d+)`, 'gm'))]
    .map(([, value]) => Number(value));
  const sum = (name) => counted(name).reduce((total, value) => total + value, 0);
  t.figure('crossed', sum('millrace_lane_packets_received'));
  t.figure('lost on lanes', sum('millrace_lane_packets_lost'));
  t.figure('adopted', sum('millrace_shard_adopted'));
  expect(sum('millrace_lane_packets_received') > 0, 'no packet crossed from one shard to another');
  expect((await server.stop()).code === 0, 'the server did not end cleanly');
}

async function rounds(t) {
  for (let round = 0; round < (t.deep ? 5 : 1); round += 1) {
    await six(t);
    for (const call of t.calls.splice(0)) await call.close();
  }
}

export default [
  { name: 'six people, two screens, mixed browsers and peer connections', run: rounds },
  { name: 'six people across three shards on one port', run: acrossShards },
];
