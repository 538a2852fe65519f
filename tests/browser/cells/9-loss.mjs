// Networks that lose, delay, swap and double packets, on the publisher's or the subscriber's way to
// the server.
import { startBadCall } from '../lib/badcall.mjs';
import { expect, sleep } from '../lib/call.mjs';
import { difference, readMetrics } from '../lib/metrics.mjs';

const FPS = 20;
// A picture of several packets a frame, so that loss has something to hit, and so small that the encoder
// leaves out no frames when congestion control takes loss for congestion.
const VIDEO = {
  width: 320, height: 180, fps: FPS, noisy: true,
  videoEncoding: { maxBitrate: 700_000, maxFramerate: FPS }, degradationPreference: 'maintain-framerate',
};

// `frames`: the least share of the frames sent that must be decoded. `gapMs`: the longest time without
// one. `concealed`: the largest share of invented audio; `bare`: of Firefox as a subscriber, which takes
// Opus without redundancy (RFC 2198), so that what is lost stays lost.
const PROFILES = [
  { name: '1 % loss', settings: { loss: 0.01 }, frames: 0.9, gapMs: 500, concealed: 0.02, bare: 0.03 },
  { name: '5 % loss', settings: { loss: 0.05 }, frames: 0.9, gapMs: 700, concealed: 0.03, bare: 0.08, quick: true },
  { name: '10 % loss', settings: { loss: 0.1 }, frames: 0.8, gapMs: 1200, concealed: 0.06, bare: 0.15 },
  // Bursts of 5 datagrams on average, 4 of them lost.
  { name: 'bursts', settings: { burst: { enter: 0.01, leave: 0.2, loss: 0.8 } }, frames: 0.8, gapMs: 1200, concealed: 0.08, bare: 0.12 },
  { name: 'swapped', settings: { delayMs: 10, swap: 0.1, swapMs: 30 }, frames: 0.9, gapMs: 500, concealed: 0.03, lossless: true },
  { name: 'doubled', settings: { double: 0.2 }, frames: 0.9, gapMs: 500, concealed: 0.02, lossless: true },
  { name: 'delay and jitter', settings: { delayMs: 100, jitterMs: 60 }, frames: 0.9, gapMs: 700, concealed: 0.05, lossless: true },
  { name: 'all of it', settings: { loss: 0.03, delayMs: 40, jitterMs: 30, swap: 0.05, swapMs: 30, double: 0.05 }, frames: 0.8, gapMs: 1200, concealed: 0.08, bare: 0.1, quick: true },
];

async function snapshot({ alice, bob }) {
  const [sent, video, audio] = await Promise.all([
    alice.call('outbound', 'camera'), bob.call('inbound', 'alice', 'camera'), bob.call('inbound', 'alice', 'microphone'),
  ]);
  return { at: await bob.call('now'), sent: sent[0], video, audio };
}

/// What the call went through while the fault was there.
async function measure(over, seconds) {
  const before = await snapshot(over);
  await sleep(seconds * 1000);
  const after = await snapshot(over);
  const gap = await over.bob.call('frameGap', 'alice', 'camera', before.at);
  const drawn = await over.alice.call('drawGap', before.at);
  const of = (part, name) => after[part][name] - before[part][name];
  return {
    decoded: of('video', 'framesDecoded'), encoded: of('sent', 'framesEncoded'),
    kbps: of('video', 'bytesReceived') * 8 / 1000 / seconds,
    gapMs: gap.longestMs, drawnMs: drawn.longestMs,
    concealed: of('audio', 'concealed') / Math.max(1, of('audio', 'samples')),
    heard: of('audio', 'samples'), plisAsked: of('video', 'pliCount'),
    ssrcs: { up: after.sent.ssrc, down: after.video.ssrc },
  };
}

/// The whole fault, with all that was done about it. The server totals its counters once a second, so
/// they are read where nothing happens: before the fault and after the last repair.
async function measureWhole(over, settings, seconds) {
  const { server, relay } = over;
  const before = await readMetrics(server);
  await relay.counts();
  await relay.set(settings);
  await sleep(500);
  const seen = await measure(over, seconds);
  await relay.set({});
  await sleep(2000);
  const { up, down } = await relay.counts();
  const videoLost = up.lostOf[seen.ssrcs.up] ?? down.lostOf[seen.ssrcs.down] ?? 0;
  return { ...seen, up, down, videoLost, ...difference(before, await readMetrics(server)) };
}

function report(t, profile, seen) {
  const { up, down } = seen;
  t.figure(`\n      ${profile.name}:`, `${seen.decoded} of ${seen.encoded} frames at ${Math.round(seen.kbps)} kbit/s`
    + `, longest gap ${Math.round(seen.gapMs)} ms (drawn ${seen.drawnMs})`
    + `, concealed ${(100 * seen.concealed).toFixed(1)} %`
    + `, relay lost ${up.rtpLost}/${up.rtp} up ${down.rtpLost}/${down.rtp} down`
    + ` (${seen.videoLost} of the picture), swapped ${up.swapped + down.swapped}, doubled ${up.doubled + down.doubled}`
    + `, rtx in ${seen.rtxReceived} out ${seen.rtxSent}, nack in ${seen.nacksReceived} out ${seen.nacksSent}`
    + `, pli in ${seen.plisReceived} out ${seen.plisSent}`
    + `, ${JSON.stringify(seen.drops)}`);
}

function judge(profile, seen, { browser, side, seconds }) {
  const at = `${profile.name} at the ${side}:`;
  expect(seen.encoded > seconds * FPS * 0.5, `${at} alice encoded ${seen.encoded} frames only`);
  expect(seen.decoded >= profile.frames * seen.encoded, `${at} ${seen.decoded} of ${seen.encoded} frames were decoded`);
  expect(seen.gapMs <= Math.max(profile.gapMs, seen.drawnMs + 300), `${at} no frame for ${seen.gapMs.toFixed(0)} ms`);
  const concealed = browser === 'firefox' && side === 'subscriber' ? profile.bare ?? profile.concealed : profile.concealed;
  expect(seen.heard > 0 && seen.concealed <= concealed, `${at} ${(100 * seen.concealed).toFixed(1)} % of the audio was invented`);
  expect(seen.plisSent <= 1 + seconds / 2, `${at} the publisher got ${seen.plisSent} key frame requests`);
  if (profile.lossless) return;
  expect(seen.videoLost >= 3, `${at} the relay lost ${seen.videoLost} packets of the picture: too few to judge`);
  if (side === 'subscriber') {
    // What the subscriber lacks comes from the store: the publisher is not asked.
    expect(seen.rtxSent >= Math.floor(0.9 * seen.videoLost), `${at} ${seen.videoLost} packets lost, ${seen.rtxSent} sent again`);
    expect(seen.nacksSent <= 2, `${at} the publisher got ${seen.nacksSent} NACKs for the subscriber's loss`);
  } else {
    // A browser probes its bandwidth with retransmissions: empty ones, and of what has arrived.
    const repaired = seen.rtxReceived - (seen.drops.rtx_unusable ?? 0) - (seen.drops.rtp_duplicate ?? 0);
    expect(repaired >= Math.floor(0.9 * seen.videoLost), `${at} ${seen.videoLost} packets lost, ${repaired} sent again`);
  }
}

async function bad(t, browser, side) {
  const over = await startBadCall(t, { browser, side, video: VIDEO });
  await over.alice.call('publishTone', 440);
  // The bitrate has risen and the path is known before the fault comes.
  await sleep(t.deep ? 8000 : 3000);
  const seconds = t.deep ? 20 : 4;
  const failures = [];
  for (const profile of PROFILES.filter(({ quick }) => t.deep || quick)) {
    const seen = await measureWhole(over, profile.settings, seconds);
    report(t, profile, seen);
    try {
      judge(profile, seen, { browser, side, seconds });
    } catch (error) {
      failures.push(error.message);
    }
  }
  expect(failures.length === 0, failures.join('; '));
}

export default ['subscriber', 'publisher'].flatMap((side) => ['chromium', 'firefox'].map((browser) => ({
  name: `loss, bursts, swaps at the ${side}, ${browser}`,
  // Each browser and each side once in a normal run.
  deep: (side === 'subscriber') !== (browser === 'chromium'),
  run: (t) => bad(t, browser, side),
})));
