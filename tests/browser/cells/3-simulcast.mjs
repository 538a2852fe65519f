// Simulcast layers at the subscriber's wish, and how much a publisher is let to send.
import { eventually, expect, sleep } from '../lib/call.mjs';

// Chromium's own thirds of 720p.
const WIDTHS = { LOW: 320, MEDIUM: 640, HIGH: 1280 };

/// The longest time without a newly decoded frame, in ms.
function longestFreeze(samples) {
  let longest = 0;
  let last = samples[0];
  for (const sample of samples) {
    longest = Math.max(longest, sample.at - last.at);
    if (sample.framesDecoded > last.framesDecoded) last = sample;
  }
  return longest;
}

async function publishing(t, videoCodec, publisher, subscriber) {
  const call = t.call();
  const bob = await call.join('bob', subscriber);
  const alice = await call.join('alice', publisher);
  // Screens keep their size under load: an encoder that is short of time must not drop a layer.
  await call.video(alice, [bob], {
    width: 1280, height: 720, fps: 12, videoCodec, simulcast: true, backupCodec: false,
    degradationPreference: 'maintain-resolution',
  });
  const encodings = async () => (await alice.call('outbound', 'camera')).filter(({ fps }) => fps > 0);
  const { ms } = await eventually('alice sends three layers', async () => (await encodings()).length === 3, 20_000)
    .catch(async (error) => {
      throw new Error(`${error.message}: ${JSON.stringify(await alice.call('outbound', 'camera'))}`);
    });
  t.figure('three layers after', ms, ' ms');
  return { alice, bob };
}

/// Switches and watches the picture while it happens.
async function switchTo(t, alice, bob, quality) {
  const since = await alice.call('now');
  await bob.call('startSampling', 'alice', 'camera');
  const start = Date.now();
  await bob.call('setVideoQuality', 'alice', 'camera', quality);
  await sleep(2500);
  const samples = await bob.call('stopSampling');
  const drawn = await alice.call('drawGap', since);
  const there = samples.find(({ frameWidth }) => frameWidth === WIDTHS[quality]);
  const last = samples.at(-1);
  expect(there && there.at - start <= 2000 && last.frameWidth === WIDTHS[quality],
    `${quality}: ${last.frameWidth} wide after 2.5 s, not ${WIDTHS[quality]}`);
  const frozen = longestFreeze(samples);
  t.figure(`${quality} after`, Math.max(0, there.at - start), ' ms');
  t.figure('longest freeze', frozen, ' ms');
  expect(frozen <= 500, `${quality}: no frame for ${frozen} ms (alice drew nothing for ${drawn.longestMs} ms)`);
}

async function layers(t, videoCodec, publisher, subscriber) {
  const { alice, bob } = await publishing(t, videoCodec, publisher, subscriber);
  // The first HIGH waits for the estimate of bob's bandwidth, and is not measured.
  await bob.call('setVideoQuality', 'alice', 'camera', 'HIGH');
  await eventually('bob gets 1280 wide', async () =>
    (await bob.call('inbound', 'alice', 'camera')).frameWidth === WIDTHS.HIGH, 20_000);
  for (let round = 0; round < (t.deep ? 5 : 1); round += 1) {
    for (const quality of ['LOW', 'MEDIUM', 'HIGH', 'LOW', 'HIGH']) await switchTo(t, alice, bob, quality);
  }
}

/// A publisher is told of the bandwidth there is: the estimate rests on the server's feedback.
async function estimate(t, browser, single) {
  const call = t.call();
  const alice = await call.join('alice', browser, { single });
  await alice.call('publishVideo', {
    width: 1280, height: 720, fps: 30, noisy: true,
    videoEncoding: { maxBitrate: 5_000_000, maxFramerate: 30 },
  });
  let best = 0;
  const { ms } = await eventually('availableOutgoingBitrate of 3 Mbit/s', async () => {
    best = Math.max(best, await alice.call('availableOutgoingBitrate'));
    return best >= 3_000_000;
  }, 10_000).catch((error) => {
    throw new Error(`${error.message}; best ${(best / 1e6).toFixed(2)} Mbit/s`);
  });
  t.figure('3 Mbit/s after', ms, ' ms');
  // An estimate is worth what is sent under it.
  const before = (await alice.call('outbound', 'camera'))[0].bytesSent;
  const seconds = t.deep ? 20 : 4;
  await sleep(seconds * 1000);
  const sent = ((await alice.call('outbound', 'camera'))[0].bytesSent - before) * 8 / seconds;
  const later = await alice.call('availableOutgoingBitrate');
  t.figure('sent', sent / 1e6, ' Mbit/s');
  t.figure('estimate', later / 1e6, ' Mbit/s');
  expect(later >= 3_000_000, `the estimate fell to ${(later / 1e6).toFixed(2)} Mbit/s`);
  expect(sent >= 1_500_000, `only ${(sent / 1e6).toFixed(2)} Mbit/s were sent`);
}

export default [
  { name: 'layers of VP8, chromium to chromium', run: (t) => layers(t, 'vp8', 'chromium', 'chromium') },
  { name: 'layers of H264, chromium to chromium', run: (t) => layers(t, 'h264', 'chromium', 'chromium') },
  { name: 'layers of VP8, chromium to firefox', run: (t) => layers(t, 'vp8', 'chromium', 'firefox') },
  { name: 'estimate of a chromium publisher, single peer connection', run: (t) => estimate(t, 'chromium', true) },
  { name: 'estimate of a chromium publisher, dual peer connection', run: (t) => estimate(t, 'chromium', false) },
];
