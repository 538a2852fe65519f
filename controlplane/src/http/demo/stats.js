// What a second of a track was like, from the browser's own statistics (W3C webrtc-stats).

function rate(now, before, field) {
  const ms = before ? now.timestamp - before.timestamp : 0;
  if (ms <= 0 || now[field] === undefined || before[field] === undefined) return undefined;
  return Math.max(0, ((now[field] - before[field]) * 1000) / ms);
}

function kbps(now, before, field) {
  const bytes = rate(now, before, field);
  return bytes === undefined ? undefined : (bytes * 8) / 1000;
}

/// Reads one track once a second; a rate needs the reading before.
export class Meter {
  #before = new Map();

  constructor(track) {
    this.track = track;
  }

  /// The last second, or null when the track has no statistics (yet).
  async read() {
    const report = await this.track.getRTCStatsReport().catch(() => undefined);
    if (!report) return null;
    const all = [...report.values()];
    const inbound = all.find((one) => one.type === 'inbound-rtp');
    const outbound = all.filter((one) => one.type === 'outbound-rtp');
    const reading = inbound ? this.#received(inbound, all) : this.#sent(outbound, all);
    this.#before = new Map([inbound, ...outbound].filter(Boolean).map((one) => [one.id, one]));
    return reading;
  }

  #received(stream, all) {
    const before = this.#before.get(stream.id);
    const received = rate(stream, before, 'packetsReceived');
    const lost = rate(stream, before, 'packetsLost');
    const expected = (received ?? 0) + (lost ?? 0);
    return {
      kbps: kbps(stream, before, 'bytesReceived'),
      codec: codecOf(stream, all),
      width: stream.frameWidth,
      height: stream.frameHeight,
      fps: stream.framesPerSecond ?? rate(stream, before, 'framesDecoded'),
      lossPct: lost === undefined ? undefined : expected > 0 ? (lost * 100) / expected : 0,
      jitterMs: stream.jitter === undefined ? undefined : stream.jitter * 1000,
      rttMs: pathRttMs(all),
    };
  }

  #sent(streams, all) {
    if (streams.length === 0) return null;
    const layers = streams
      .map((stream) => ({
        kbps: kbps(stream, this.#before.get(stream.id), 'bytesSent'),
        width: stream.frameWidth,
        height: stream.frameHeight,
        // Chromium keeps the last rate of a layer that has stopped.
        fps: rate(stream, this.#before.get(stream.id), 'framesEncoded') ?? stream.framesPerSecond,
      }))
      .sort((a, b) => (b.height ?? 0) - (a.height ?? 0));
    const reports = all.filter((one) => one.type === 'remote-inbound-rtp');
    const most = (field) =>
      reports.reduce((found, one) => Math.max(found ?? 0, one[field] ?? 0), undefined);
    const lost = most('fractionLost');
    const jitter = most('jitter');
    const rtt = most('roundTripTime');
    return {
      kbps: layers.reduce((sum, layer) => sum + (layer.kbps ?? 0), 0),
      codec: codecOf(streams[0], all),
      layers,
      lossPct: lost === undefined ? undefined : lost * 100,
      jitterMs: jitter === undefined ? undefined : jitter * 1000,
      rttMs: rtt ? rtt * 1000 : pathRttMs(all),
      limit: streams.find((one) => !['none', undefined].includes(one.qualityLimitationReason))
        ?.qualityLimitationReason,
    };
  }
}

function codecOf(stream, all) {
  const codec = all.find((one) => one.type === 'codec' && one.id === stream.codecId);
  return codec?.mimeType.split('/')[1];
}

/// Round trip of the connectivity checks on the path in use: known without any report of a peer.
function pathRttMs(all) {
  const transport = all.find((one) => one.type === 'transport');
  const pair = all.find((one) => one.type === 'candidate-pair'
    && (transport ? one.id === transport.selectedCandidatePairId : one.selected || one.nominated));
  return pair?.currentRoundTripTime === undefined ? undefined : pair.currentRoundTripTime * 1000;
}

/// Which of the layers a publisher announced this picture is, counted from the smallest.
function layerOf(reading, announced) {
  if (!announced || announced.length < 2 || !reading.height) return undefined;
  const pixels = reading.width * reading.height;
  const sizes = announced.map((layer) => layer.width * layer.height).sort((a, b) => a - b);
  const distances = sizes.map((size) => Math.abs(Math.log(size / pixels)));
  return `${distances.indexOf(Math.min(...distances)) + 1} of ${sizes.length}`;
}

function ms(value) {
  return value < 10 ? value.toFixed(1) : value.toFixed(0);
}

/// The line of figures: pairs of a name, for the style sheet and for who reads it, and a text.
export function figures(reading, announced) {
  const list = [];
  const add = (name, value, text) => {
    if (value !== undefined && value !== null && !Number.isNaN(value)) list.push([name, text(value)]);
  };
  const sent = reading.layers?.filter((layer) => (layer.kbps ?? 0) > 1 && layer.height);
  if (sent) {
    add('size', sent.length > 0 ? sent : undefined, (layers) =>
      layers.map((layer) => `${layer.height}p${Math.round(layer.fps ?? 0)}`).join(' + '));
  } else {
    add('size', reading.height, () => `${reading.width}×${reading.height}`);
    add('fps', reading.fps, (value) => `${Math.round(value)} fps`);
  }
  add('rate', reading.kbps, (value) => `${Math.round(value)} kbit/s`);
  add('codec', reading.codec, (value) => value);
  add('layer', sent ? undefined : layerOf(reading, announced), (value) => `layer ${value}`);
  add('loss', reading.lossPct, (value) => `loss ${value.toFixed(1)} %`);
  add('jitter', reading.jitterMs, (value) => `jitter ${ms(value)} ms`);
  add('rtt', reading.rttMs, (value) => `RTT ${ms(value)} ms`);
  add('limit', reading.limit, (value) => `limited by ${value}`);
  return list;
}
