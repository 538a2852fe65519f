// A call over a network: browsers behind a veth pair, in a namespace that has one address family
// and no loopback way to the server.
import { eventually, expect, flows } from '../lib/call.mjs';
import { makeNamespace, startBrowserInside, whyNoNamespace } from '../lib/namespace.mjs';
import { servePage } from '../lib/pages.mjs';

async function across(t, family, browser, single) {
  const reason = whyNoNamespace();
  if (reason) t.skip(reason);
  const space = await makeNamespace(family);
  t.atEnd(space.close);
  const server = await t.startServer({ bind: [space.host], host: space.host });
  const site = await servePage(space.host);
  t.atEnd(async () => site.close());
  const started = await startBrowserInside(space, browser, site);
  t.atEnd(started.close);

  const call = t.call({ server, site });
  const bob = await call.join('bob', started, { single });
  const alice = await call.join('alice', started, { single });
  t.figure('connect', Math.max(alice.connectMs, bob.connectMs), ' ms');
  t.figure('first frame', await call.video(alice, [bob]), ' ms');
  const { fps } = await flows(bob, 'alice', 'camera', t.deep ? 30 : 4);
  t.figure('fps', fps);

  await alice.call('publishTone', 660);
  await eventually('bob hears 660 Hz', async () => Math.abs(await bob.call('tone', 'alice') - 660) < 25);
  await bob.call('publishData', 'over the network', { reliable: true });
  await eventually('alice has the data', async () =>
    (await alice.call('received')).data.some(({ text }) => text === 'over the network'));

  const { remote, protocol } = await alice.call('selectedCandidates');
  t.figure('media to', `${remote}/${protocol}`);
  expect(protocol === 'udp', `media goes over ${protocol}`);
  expect(remote === space.host, `media goes to ${remote}, not to ${space.host}`);
}

export default [4, 6].flatMap((family) => [
  ['chromium', true], ['chromium', false], ['firefox', true], ['firefox', false],
].map(([browser, single]) => ({
  name: `IPv${family}, ${browser}, ${single ? 'single' : 'dual'} peer connection`,
  // Each browser and each kind of connection once in a normal run, crossed over the families.
  deep: (family === 4) !== ((browser === 'chromium') === single),
  run: (t) => across(t, family, browser, single),
})));
