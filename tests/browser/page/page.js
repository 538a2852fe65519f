// What a test may ask of a page. Everything goes through the public API of livekit-client.
'use strict';

const LK = window.LivekitClient;
const state = { room: null, data: [], texts: [], files: [], events: [], stops: [], stopSampling: null };

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
    E.ParticipantPermissionsChanged, E.ParticipantNameChanged, E.RoomMetadataChanged, E.TrackStreamStateChanged,
    E.TrackSubscriptionPermissionChanged]) {
    room.on(event, (...args) => note(event, { detail: args.map(brief) }));
  }
  room.on(E.TrackSubscribed, (track, publication, participant) => {
    const element = track.attach();
    element.dataset.identity = participant.identity;
    element.dataset.source = publication.source;
    document.getElementById('media').append(element);
    if (track.kind === 'video') watchFrames(element, `${participant.identity}/${publication.source}`);
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

// What of an event's arguments can leave the page.
function brief(value) {
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(brief);
  return value.identity ?? value.trackSid ?? value.sid ?? Object.prototype.toString.call(value);
}

function publication(identity, source) {
  const participant = identity === 'self' ? state.room.localParticipant
    : state.room.remoteParticipants.get(identity);
  return participant?.getTrackPublication(source);
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
    const { track, stop } = picture({ width, height, fps, noisy });
    state.stops.push(stop);
    const at = Date.now();
    const published = await state.room.localParticipant.publishTrack(track, {
      source, simulcast: false, name: source, ...options,
    });
    return { sid: published.trackSid, at };
  },

  async publishTone(hz) {
    const { track, oscillator, stop } = await toneSource(hz);
    state.stops.push(stop);
    state.oscillator = oscillator;
    const at = Date.now();
    const published = await state.room.localParticipant.publishTrack(track, { source: 'microphone', dtx: false });
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

  now: () => Date.now(),

  // The longest time without a frame of a remote video since then, and how many came.
  frameGap: (identity, source, since) =>
    longestGap(frameTimes[`${identity}/${source}`] ?? [], since, Date.now()),

  // When the first frame of a remote video came in after then; null if none has.
  frameAfter: (identity, source, since) =>
    (frameTimes[`${identity}/${source}`] ?? []).find((time) => time > since) ?? null,

  // The longest time this page drew nothing: what no server is to blame for.
  drawGap: (since) => longestGap(drawn, since, Date.now()),

  inbound: async (identity, source) => {
    const receiver = publication(identity, source)?.track?.receiver;
    return receiver ? inboundOf(receiver) : null;
  },

  // Of every remote video, by identity/source.
  async inboundVideos() {
    const all = {};
    for (const participant of state.room.remoteParticipants.values()) {
      for (const { source, track } of participant.videoTrackPublications.values()) {
        const stats = track?.receiver && await inboundOf(track.receiver);
        if (stats) all[`${participant.identity}/${source}`] = stats;
      }
    }
    return all;
  },

  outbound: (source) => outboundOf(publication('self', source).track.sender),

  startSampling(identity, source) {
    state.stopSampling = sampleDecoded(publication(identity, source).track.receiver);
  },
  stopSampling: () => state.stopSampling(),

  async availableOutgoingBitrate() {
    let best = 0;
    (await state.room.engine.pcManager.publisher.getStats()).forEach((stats) => {
      if (stats.type === 'candidate-pair') best = Math.max(best, stats.availableOutgoingBitrate ?? 0);
    });
    return best;
  },

  // The address family and protocol the publishing peer connection uses.
  async selectedCandidates() {
    const stats = await state.room.engine.pcManager.publisher.getStats();
    let pair = null;
    stats.forEach((entry) => {
      if (entry.type === 'candidate-pair' && entry.nominated && entry.state === 'succeeded') pair = entry;
    });
    const { address, protocol, candidateType } = stats.get(pair.remoteCandidateId);
    return { local: stats.get(pair.localCandidateId).address, remote: address, protocol, candidateType };
  },

  // Loudest frequency of what is heard of `identity`, in Hz; 0 when silent.
  async tone(identity) {
    const track = await until('audio track', () => publication(identity, 'microphone')?.track);
    return loudest(track.mediaStreamTrack);
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
  roomMetadata: () => state.room.metadata,
  permissions: () => {
    const { canPublish, canSubscribe, canPublishData, hidden } = state.room.localParticipant.permissions;
    return { canPublish, canSubscribe, canPublishData, hidden };
  },
  permitSubscriptions: (all, list = []) =>
    state.room.localParticipant.setTrackSubscriptionPermissions(all, list),

  // Calls one of these functions; what it throws comes back instead.
  async attempt(name, ...args) {
    try {
      return { value: await window.t[name](...args) };
    } catch (error) {
      const { name: kind, message, reason, status } = error;
      return { error: { kind, message, reason: LK.ConnectionErrorReason[reason], status } };
    }
  },

  // A client that does not ask itself whether it may publish: the server has to.
  async publishUnasked(options) {
    state.room.localParticipant.hasPermissionsToPublish = () => true;
    return window.t.publishVideo(options);
  },

  simulate: (scenario) => state.room.simulateScenario(scenario),

  // Joins and leaves, once for each token. Data brings both peer connections up.
  async churn(url, tokens) {
    for (const token of tokens) {
      const room = new LK.Room({ singlePeerConnection: false });
      await room.connect(url, token);
      await room.localParticipant.publishData(new Uint8Array(100), { reliable: true });
      await room.disconnect();
    }
  },
};
