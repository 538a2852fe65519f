// A link no wider than IPv6 must have, and clients without IPv4: pictures of full packets, both ways.
import { startBadCall } from '../lib/badcall.mjs';
import { expect, flows, sleep } from '../lib/call.mjs';

const VIDEO = {
  width: 640, height: 360, fps: 20, noisy: true, videoEncoding: { maxBitrate: 700_000, maxFramerate: 20 },
  degradationPreference: 'maintain-framerate',
};

async function narrow(t, { browser, side, family }) {
  const over = await startBadCall(t, { browser, side, family, mtu: 1280, relayed: false, video: VIDEO });
  t.figure('first frame', over.firstFrameMs, ' ms');
  await sleep(3000);
  const { fps } = await flows(over.bob, 'alice', 'camera', t.deep ? 20 : 3);
  const { packetsReceived, bytesReceived } = await over.bob.call('inbound', 'alice', 'camera');
  t.figure('fps', fps);
  t.figure('mean payload', bytesReceived / packetsReceived, ' bytes');
  expect(fps >= 10, `${fps} frames a second`);
  const { remote, protocol } = await over.away.call('selectedCandidates');
  expect(remote === over.leg.host && protocol === 'udp', `media goes to ${remote}/${protocol}`);
  expect(bytesReceived / packetsReceived > 700, 'the packets are too short to prove anything');
  const tooLong = over.leg.tooLong();
  expect(tooLong === 0, `${tooLong} packets were longer than the link`);
}

export default [6, 4].flatMap((family) => ['chromium', 'firefox'].flatMap((browser) => ['subscriber', 'publisher'].map((side) => ({
  name: `IPv${family} with an MTU of 1280 at the ${side}, ${browser}`,
  deep: !(family === 6 && browser === 'chromium' && side === 'subscriber'),
  run: (t) => narrow(t, { browser, side, family }),
}))));
