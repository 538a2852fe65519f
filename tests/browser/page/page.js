// What a test may ask of a page. Everything goes through the public API of livekit-client.
'use strict';

const LK = window.LivekitClient;
const state = { room: null, data: [], texts: [], files: [], events: [], stops: [], connected: 0 };
window.millraceTest = state;

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

function note(event, detail = {}) {
  state.events.push({ at: Date.now(), event, ...detail });
}

function watch(room) {
  const E = LK.RoomEvent;
  room.on(E.DataReceived, (payload, from, _kind, topic) =>
    state.data.push({ text: new TextDecoder().decode(payload), from: from?.identity, topic }));
  for (const event of [E.Reconnecting, E.SignalReconnecting, E.Reconnected, E.Connected, E.Disconnected,
    E.TrackSubscribed, E.TrackUnsubscribed, E.TrackSubscriptionFailed, E.TrackMuted, E.TrackUnmuted,
    E.ParticipantConnected, E.ParticipantDisconnected, E.LocalTrackSubscribed, E.ActiveSpeakersChanged,
    E.ConnectionQualityChanged, E.ParticipantMetadataChanged, E.ParticipantAttributesChanged,
    E.ParticipantPermissionsChanged, E.RoomMetadataChanged, E.TrackStreamStateChanged]) {
    room.on(event, (...args) => note(event, { detail: args.map(brief) }));
  }
  room.on(E.TrackSubscribed, (track, publication, participant) => {
    const element = track.attach();
    element.dataset.identity = participant.identity;
    element.dataset.source = publication.source;
    document.getElementById('media').append(element);
    if (track.kind === 'video') firstFrame(element, `${participant.identity}/${publication.source}`);
  });
  room.on(E.TrackUnsubscribed, (track) => track.detach().forEach((element) => element.remove()));
  room.registerTextStreamHandler('test', async (reader, from) =>
    state.texts.push({ text: await reader.readAll(), from: from.identity }));
  room.registerByteStreamHandler('test', async (reader, from) => {
    const parts = await reader.readAll();
    const size = parts.reduce((sum, part) => sum + part.length, 0);
    let checksum = 0;
    for (const part of parts) for (const byte of part) checksum = (checksum * 31 + byte) >>> 0;
    state.files.push({ size, checksum, name: reader.info.name, from: from.identity });
  });
  room.registerRpcMethod('double', async (call) => String(2 * Number(call.payload)));
}

function brief(value) {
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(brief);
  return value.identity ?? value.trackSid ?? value.sid ?? Object.prototype.toString.call(value);
}

const firstFrames = {};
function firstFrame(element, key) {
  element.requestVideoFrameCallback?.(() => { firstFrames[key] ??= Date.now(); });
}

function publication(identity, source) {
  const participant = identity === 'self' ? state.room.localParticipant
    : state.room.remoteParticipants.get(identity);
  return participant?.getTrackPublication(source);
}

function receiverOf(identity, source) {
  return publication(identity, source)?.track?.receiver;
}

async function inbound(identity, source) {
  const receiver = receiverOf(identity, source);
  if (!receiver) return null;
  let found = null;
  (await receiver.getStats()).forEach((stats) => { if (stats.type === 'inbound-rtp') found = stats; });
  return found;
}

// A picture that changes all over with every frame: `noisy` ones cannot be compressed.
function picture({ width, height, fps, noisy }) {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d', { willReadFrequently: false });
  const noise = noisy ? new ImageData(width, height) : null;
  let frame = 0;
  const timer = setInterval(() => {
    frame += 1;
    if (noise) {
      const pixels = new Uint32Array(noise.data.buffer);
      let seed = frame * 2654435761;
      for (let i = 0; i < pixels.length; i += 1) {
        seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
        pixels[i] = 0xff000000 | (seed >>> 8);
      }
      context.putImageData(noise, 0, 0);
      return;
    }
    context.fillStyle = `hsl(${(frame * 3) % 360} 70% 50%)`;
    context.fillRect(0, 0, width, height);
    context.fillStyle = '#fff';
    context.font = `${height / 4}px sans-serif`;
    context.fillText(String(frame), width / 8, height / 2);
    context.fillRect((frame * 8) % width, height * 0.7, width / 10, height / 10);
  }, 1000 / fps);
  state.stops.push(() => clearInterval(timer));
  const [track] = canvas.captureStream(fps).getVideoTracks();
  return track;
}

let audioContext = null;
function audio() {
  audioContext ??= new AudioContext();
  return audioContext;
}

window.t = {
  supports: () => ({
    h264: RTCRtpSender.getCapabilities('video').codecs.some((c) => c.mimeType === 'video/H264'),
  }),

  async connect(url, token, roomOptions = {}, connectOptions = {}) {
    const room = new LK.Room(roomOptions);
    state.room = room;
    watch(room);
    const start = performance.now();
    await room.connect(url, token, connectOptions);
    return { ms: performance.now() - start, sid: room.localParticipant.sid };
  },

  async disconnect() {
    state.stops.splice(0).forEach((stop) => stop());
    await state.room?.disconnect();
  },

  async publishVideo({ width = 640, height = 360, fps = 15, noisy = false, source = 'camera', ...options } = {}) {
    const track = picture({ width, height, fps, noisy });
    const at = Date.now();
    const published = await state.room.localParticipant.publishTrack(track, {
      source, simulcast: false, name: source, ...options,
    });
    return { sid: published.trackSid, at };
  },

  async publishTone(hz) {
    const context = audio();
    await context.resume();
    const oscillator = context.createOscillator();
    oscillator.frequency.value = hz;
    const destination = context.createMediaStreamDestination();
    oscillator.connect(destination);
    oscillator.start();
    state.stops.push(() => oscillator.stop());
    state.oscillator = oscillator;
    const at = Date.now();
    const published = await state.room.localParticipant.publishTrack(
      destination.stream.getAudioTracks()[0], { source: 'microphone', dtx: false });
    return { sid: published.trackSid, at };
  },

  setTone(hz) { state.oscillator.frequency.value = hz; },

  async publishMicrophoneAndCamera() {
    const at = Date.now();
    await state.room.localParticipant.enableCameraAndMicrophone();
    return { at };
  },

  async unpublish(source) {
    const published = publication('self', source);
    await state.room.localParticipant.unpublishTrack(published.track, true);
  },

  async mute(source) { await publication('self', source).mute(); },
  async unmute(source) { await publication('self', source).unmute(); },

  firstFrameAt: (identity, source, timeoutMs) =>
    until(`first frame of ${identity}/${source}`, () => firstFrames[`${identity}/${source}`], timeoutMs),

  forgetFirstFrames() { for (const key of Object.keys(firstFrames)) delete firstFrames[key]; },

  inbound: async (identity, source) => {
    const stats = await inbound(identity, source);
    return stats && {
      framesDecoded: stats.framesDecoded ?? 0,
      keyFramesDecoded: stats.keyFramesDecoded ?? 0,
      freezeCount: stats.freezeCount ?? 0,
      totalFreezesDuration: stats.totalFreezesDuration ?? 0,
      frameWidth: stats.frameWidth ?? 0,
      frameHeight: stats.frameHeight ?? 0,
      packetsReceived: stats.packetsReceived ?? 0,
      packetsLost: stats.packetsLost ?? 0,
      bytesReceived: stats.bytesReceived ?? 0,
      nackCount: stats.nackCount ?? 0,
      pliCount: stats.pliCount ?? 0,
      codecId: stats.codecId,
    };
  },

  async availableOutgoingBitrate() {
    let best = 0;
    for (const pc of [state.room.engine.pcManager.publisher]) {
      (await pc.getStats()).forEach((stats) => {
        if (stats.type === 'candidate-pair' && stats.availableOutgoingBitrate) {
          best = Math.max(best, stats.availableOutgoingBitrate);
        }
      });
    }
    return best;
  },

  // Loudest frequency of what is heard of `identity`, in Hz; 0 when silent.
  async tone(identity) {
    const context = audio();
    await context.resume();
    const track = await until('audio track', () => publication(identity, 'microphone')?.track);
    const source = context.createMediaStreamSource(new MediaStream([track.mediaStreamTrack]));
    const analyser = context.createAnalyser();
    analyser.fftSize = 4096;
    source.connect(analyser);
    await sleep(400);
    const bins = new Float32Array(analyser.frequencyBinCount);
    analyser.getFloatFrequencyData(bins);
    source.disconnect();
    let best = 0;
    for (let i = 1; i < bins.length; i += 1) if (bins[i] > bins[best]) best = i;
    return bins[best] < -80 ? 0 : (best * context.sampleRate) / analyser.fftSize;
  },

  setVideoQuality(identity, source, quality) {
    publication(identity, source).setVideoQuality(LK.VideoQuality[quality]);
  },
  setEnabled(identity, source, enabled) { publication(identity, source).setEnabled(enabled); },
  setSubscribed(identity, source, subscribed) { publication(identity, source).setSubscribed(subscribed); },

  hide(identity, source, hidden) {
    for (const element of document.querySelectorAll('video')) {
      if (element.dataset.identity === identity && element.dataset.source === source) {
        element.style.display = hidden ? 'none' : '';
      }
    }
  },
  resize(identity, source, width, height) {
    for (const element of document.querySelectorAll('video')) {
      if (element.dataset.identity === identity && element.dataset.source === source) {
        Object.assign(element.style, { width: `${width}px`, height: `${height}px` });
      }
    }
  },

  async publishData(text, options) {
    await state.room.localParticipant.publishData(new TextEncoder().encode(text), options);
  },
  sendText: (text, options) => state.room.localParticipant.sendText(text, { topic: 'test', ...options }).then(() => true),
  async sendFile(size, options) {
    const bytes = Uint8Array.from({ length: size }, (_, i) => (i * 7) & 0xff);
    let checksum = 0;
    for (const byte of bytes) checksum = (checksum * 31 + byte) >>> 0;
    await state.room.localParticipant.sendFile(new File([bytes], 'test.bin'), { topic: 'test', ...options });
    return { size, checksum };
  },
  performRpc: (identity, payload) => state.room.localParticipant.performRpc({
    destinationIdentity: identity, method: 'double', payload }),
  setAttributes: (attributes) => state.room.localParticipant.setAttributes(attributes),
  setMetadata: (metadata) => state.room.localParticipant.setMetadata(metadata),
  setName: (name) => state.room.localParticipant.setName(name),

  participants: () => [...state.room.remoteParticipants.values()].map((participant) => ({
    identity: participant.identity, sid: participant.sid, name: participant.name,
    metadata: participant.metadata, attributes: { ...participant.attributes },
    isSpeaking: participant.isSpeaking, quality: participant.connectionQuality,
    tracks: [...participant.trackPublications.values()].map((track) => ({
      sid: track.trackSid, source: track.source, kind: track.kind, muted: track.isMuted,
      subscribed: track.isSubscribed, mime: track.mimeType,
    })),
  })),
  self: () => ({
    sid: state.room.localParticipant.sid, identity: state.room.localParticipant.identity,
    state: state.room.state, isSpeaking: state.room.localParticipant.isSpeaking,
    attributes: { ...state.room.localParticipant.attributes },
    serverVersion: state.room.serverInfo?.version,
  }),
  received: () => ({ data: state.data, texts: state.texts, files: state.files }),
  events: () => state.events,
  simulate: (scenario) => state.room.simulateScenario(scenario),
  cutSignal: () => { state.room.engine.client.ws?.close?.(); },
};
