// What a participant sends: tracks of camera and microphone, or of the test picture and tone.

import { TEST_PICTURE, TestPicture, startTone } from './picture.js';

const { Track, VideoPresets, createLocalAudioTrack, createLocalVideoTrack } = window.LivekitClient;

/// Why a device gave nothing, in words for who sits before it.
function reasonOf(error, device) {
  switch (error.name) {
    case 'NotAllowedError':
    case 'SecurityError':
      return `The ${device} is not allowed for this page. The icon beside the address changes that.`;
    case 'NotFoundError':
    case 'OverconstrainedError':
      return `No ${device} was found.`;
    case 'NotReadableError':
    case 'AbortError':
      return `The ${device} is there but gives nothing: another program may be using it.`;
    default:
      return `The ${device} failed: ${error.message}`;
  }
}

/// Tracks for one call, made before it so that the questions of the browser come first.
export class Capture {
  #picture = null;
  #tone = null;

  constructor(name, say) {
    this.name = name;
    this.say = say;
  }

  /// A track to publish with its options, or null. A camera that fails gives the test picture.
  async video(choice) {
    if (choice === 'camera') {
      try {
        const track = await createLocalVideoTrack({ resolution: VideoPresets.h720.resolution });
        return { track, options: { source: Track.Source.Camera, simulcast: true } };
      } catch (error) {
        this.say(`${reasonOf(error, 'camera')} The test picture is sent instead.`);
      }
    }
    if (choice === 'none') return null;
    this.#picture?.stop();
    this.#picture = new TestPicture(this.name);
    const options = { source: Track.Source.Camera, simulcast: true, name: TEST_PICTURE };
    this.#picture.start();
    return { track: this.#picture.capture(), options };
  }

  async audio(choice) {
    const options = { source: Track.Source.Microphone };
    if (choice === 'microphone') {
      try {
        const track = await createLocalAudioTrack({ echoCancellation: true, noiseSuppression: true });
        return { track, options };
      } catch (error) {
        this.say(`${reasonOf(error, 'microphone')} You are heard by nobody, but hear the others.`);
        return null;
      }
    }
    if (choice === 'none') return null;
    this.#tone?.stop();
    this.#tone = startTone(this.name);
    return { track: this.#tone.track, options: { ...options, name: 'test tone' } };
  }

  stop() {
    this.#picture?.stop();
    this.#tone?.stop();
  }
}
