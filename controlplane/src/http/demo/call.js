// One call: the room, what goes into it, and what its events mean for the page.

import { Capture } from './capture.js';

const { DisconnectReason, Room, RoomEvent, Track } = window.LivekitClient;

/// Everything after which the tiles may look different.
const EVENTS_SEEN = [
  RoomEvent.ParticipantConnected, RoomEvent.ParticipantDisconnected, RoomEvent.ParticipantActive,
  RoomEvent.ParticipantNameChanged, RoomEvent.TrackPublished, RoomEvent.TrackUnpublished,
  RoomEvent.TrackSubscribed, RoomEvent.TrackUnsubscribed, RoomEvent.TrackMuted,
  RoomEvent.TrackUnmuted, RoomEvent.LocalTrackPublished, RoomEvent.LocalTrackUnpublished,
  RoomEvent.ActiveSpeakersChanged, RoomEvent.ConnectionQualityChanged,
  RoomEvent.TrackStreamStateChanged, RoomEvent.AudioPlaybackStatusChanged,
  RoomEvent.ConnectionStateChanged,
];

const ENDS = {
  CLIENT_INITIATED: 'You left the room.',
  DUPLICATE_IDENTITY: 'Somebody joined this room under the same name, so this page had to go. '
    + 'It may be you, in another tab: choose another name.',
  SERVER_SHUTDOWN: 'The server is shutting down.',
  PARTICIPANT_REMOVED: 'You were removed from the room.',
  ROOM_DELETED: 'The room was deleted.',
  ROOM_CLOSED: 'The room was closed.',
  STATE_MISMATCH: 'The server no longer knows this session: it may have restarted.',
  JOIN_FAILURE: 'The connection for media could not be made. Often UDP is blocked: '
    + 'by a firewall before the server, or by the network you are in.',
  SIGNAL_CLOSE: 'The connection to the server was lost.',
  CONNECTION_TIMEOUT: 'The server heard nothing of this page for too long.',
  MEDIA_FAILURE: 'Media stopped coming through.',
};

export function endOf(reason) {
  const name = DisconnectReason[reason];
  return ENDS[name] ?? 'The connection to the server was lost, and trying again did not help.';
}

/// Why connecting failed, in words for the page.
export function failureOf(error, url) {
  // The SDK reports a refused token as an unreachable server too.
  if (error.reasonName === 'NotAllowed' || [401, 403].includes(error.status)
    || /invalid token|unauthorized/i.test(error.message)) {
    return 'The server refused the token: it may have expired, or be signed with another key.';
  }
  switch (error.reasonName) {
    case 'ServerUnreachable':
    case 'WebSocket':
    case 'ServiceNotFound':
      return `No LiveKit server answers at ${url}. (${error.message})`;
    case 'Timeout':
    case 'InternalError':
      return `${ENDS.JOIN_FAILURE} (${error.message})`;
    case 'LeaveRequest':
      return endOf(error.context);
    default:
      return `Connecting failed: ${error.message}`;
  }
}

export class Call {
  #drawn = true;
  #sounds = document.querySelector('#sounds');

  /// `show(room)` draws, `say(text)` tells something once, `note(text)` is for the chat's log,
  /// `ended(reason)` comes when a call that had begun is over.
  constructor({ show, say, note, ended }) {
    this.show = show;
    this.say = say;
    this.note = note;
    this.room = new Room({
      adaptiveStream: false, // each tile asks for its own size
      dynacast: true,
      publishDefaults: { dtx: true, red: true },
    });
    for (const event of EVENTS_SEEN) this.room.on(event, () => this.#changed());
    this.room
      .on(RoomEvent.TrackSubscribed, (track) => this.#hear(track))
      .on(RoomEvent.TrackUnsubscribed, (track) => this.#unhear(track))
      .on(RoomEvent.ParticipantConnected, (one) => note(`${one.name || one.identity} joined`))
      .on(RoomEvent.ParticipantDisconnected, (one) => note(`${one.name || one.identity} left`))
      .on(RoomEvent.Disconnected, (reason) => {
        this.capture?.stop();
        this.#sounds.replaceChildren();
        if (this.begun) ended(reason);
      });
  }

  /// Many events come at once; the page is drawn once.
  #changed() {
    if (!this.#drawn) return;
    this.#drawn = false;
    queueMicrotask(() => {
      this.#drawn = true;
      this.show(this.room);
    });
  }

  async join({ url, token, name, picture, sound }) {
    this.capture = new Capture(name, this.say);
    try {
      const video = await this.capture.video(picture);
      const audio = await this.capture.audio(sound);
      this.made = [video, audio].filter(Boolean);
      // Questions for camera and microphone take time: somebody may have left meanwhile.
      if (this.left) throw Object.assign(new Error('left'), { reasonName: 'Cancelled' });
      await this.room.connect(url, token);
      this.begun = true;
      // Pictures and sound do not wait for each other: one that is refused must not cost the other.
      await Promise.all(this.made.map((one) => this.#publish(one)));
    } catch (error) {
      this.#release();
      throw error;
    }
  }

  async #publish({ track, options }) {
    try {
      await this.room.localParticipant.publishTrack(track, options);
    } catch (error) {
      this.say(`The server did not take the ${options.source}: ${error.message}`);
    }
  }

  #release() {
    for (const { track } of this.made ?? []) track.stop();
    this.capture?.stop();
  }

  #hear(track) {
    if (track.kind === Track.Kind.Audio) this.#sounds.append(track.attach());
  }

  #unhear(track) {
    if (track.kind === Track.Kind.Audio) for (const element of track.detach()) element.remove();
  }

  /// Mutes what there is, unmutes it, or makes it.
  async toggle(source, make) {
    const publication = this.room.localParticipant.getTrackPublication(source);
    if (publication?.track) {
      await (publication.isMuted ? publication.unmute() : publication.mute());
    } else {
      const made = await make();
      if (made) await this.#publish(made);
    }
    this.#changed();
  }

  toggleMicrophone(choice) {
    return this.toggle(Track.Source.Microphone, () => this.capture.audio(choice));
  }

  toggleCamera(choice) {
    return this.toggle(Track.Source.Camera, () => this.capture.video(choice));
  }

  async toggleScreen() {
    const { localParticipant } = this.room;
    try {
      await localParticipant.setScreenShareEnabled(!localParticipant.isScreenShareEnabled,
        { audio: true, contentHint: 'detail' });
    } catch (error) {
      // Who closes the browser's choice of screens has changed their mind: no failure.
      if (error.name !== 'NotAllowedError') this.say(`No screen is shared: ${error.message}`);
    }
    this.#changed();
  }

  leave() {
    this.left = true;
    return this.room.disconnect();
  }
}
