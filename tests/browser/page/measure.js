// What a page measures: frames as they come in, and the statistics of its peer connections.
'use strict';

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(what, condition, timeoutMs = 10000) {
  const start = performance.now();
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() - start > timeoutMs) throw new Error(`timeout: ${what}`);
    await sleep(20);
  }
}

// When the frames of each remote video came in, in ms since the epoch. A frame counts from when its
// last packet came, where the browser tells: a busy machine paints late.
const firstFrames = {};
const frameTimes = {};
function watchFrames(element, key) {
  const each = (now, { receiveTime }) => {
    firstFrames[key] ??= Date.now();
    frameTimes[key] ??= [];
    frameTimes[key].push(performance.timeOrigin + (receiveTime ?? now));
    if (frameTimes[key].length > FRAMES_MAX) frameTimes[key].shift();
    element.requestVideoFrameCallback(each);
  };
  element.requestVideoFrameCallback(each);
}

// The longest time without one of `times` from `since` to `until`, both included.
function longestGap(times, since, until) {
  let last = since;
  let longestMs = 0;
  let count = 0;
  for (const time of [...times].sort((a, b) => a - b)) {
    if (time < since || time > until) continue;
    longestMs = Math.max(longestMs, time - last);
    last = time;
    count += 1;
  }
  return { count, longestMs: Math.max(longestMs, until - last) };
}

async function inboundOf(receiver) {
  let found = null;
  (await receiver.getStats()).forEach((stats) => { if (stats.type === 'inbound-rtp') found = stats; });
  return found && {
    ssrc: found.ssrc,
    framesDecoded: found.framesDecoded ?? 0,
    framesReceived: found.framesReceived ?? 0,
    keyFramesDecoded: found.keyFramesDecoded ?? 0,
    freezeCount: found.freezeCount ?? 0,
    totalFreezesDuration: found.totalFreezesDuration ?? 0,
    frameWidth: found.frameWidth ?? 0,
    frameHeight: found.frameHeight ?? 0,
    packetsReceived: found.packetsReceived ?? 0,
    packetsLost: found.packetsLost ?? 0,
    bytesReceived: found.bytesReceived ?? 0,
    nackCount: found.nackCount ?? 0,
    pliCount: found.pliCount ?? 0,
    retransmitted: found.retransmittedPacketsReceived ?? 0,
    framesDropped: found.framesDropped ?? 0,
    samples: found.totalSamplesReceived ?? 0,
    concealed: (found.concealedSamples ?? 0) - (found.silentConcealedSamples ?? 0),
    codecId: found.codecId,
  };
}

// What a sender sends, one entry for each encoding.
async function outboundOf(sender) {
  const encodings = [];
  (await sender.getStats()).forEach((stats) => {
    if (stats.type !== 'outbound-rtp') return;
    encodings.push({
      rid: stats.rid ?? '', ssrc: stats.ssrc, active: stats.active ?? true, framesEncoded: stats.framesEncoded ?? 0,
      fps: stats.framesPerSecond ?? 0, width: stats.frameWidth ?? 0, bytesSent: stats.bytesSent ?? 0,
      limitedBy: stats.qualityLimitationReason ?? '',
    });
  });
  return encodings;
}

// Samples what is decoded every 50 ms until `stop()`, which returns the samples.
function sampleDecoded(receiver) {
  const samples = [];
  let stopped = false;
  const loop = (async () => {
    while (!stopped) {
      const { framesDecoded, frameWidth } = await inboundOf(receiver) ?? { framesDecoded: 0, frameWidth: 0 };
      samples.push({ at: Date.now(), framesDecoded, frameWidth });
      await sleep(50);
    }
  })();
  return async () => {
    stopped = true;
    await loop;
    return samples;
  };
}
