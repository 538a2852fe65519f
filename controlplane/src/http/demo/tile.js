// One picture of a call: a participant's camera, or a screen.

import { Meter, figures } from './stats.js';
import { numberOf, TEST_PICTURE } from './picture.js';

const { VideoQuality, Track } = window.LivekitClient;

const FIXED = { low: VideoQuality.LOW, medium: VideoQuality.MEDIUM, high: VideoQuality.HIGH };
/// More pixels than this per CSS pixel nobody sees in a call.
const DENSITY_MAX = 2;
/// Sizes are asked for in steps, so that dragging a window's edge is not a request per pixel.
const SIZE_STEP = 32;

const LINKS = {
  excellent: [3, 'good connection'],
  good: [2, 'fair connection'],
  poor: [1, 'poor connection'],
  lost: [0, 'connection lost'],
};

export class Tile {
  #video;
  #track = null;
  #publication = null;
  #participant = null;
  #meter = null;
  #audioMeter = null;
  #choice = 'auto';
  #visible = true;
  #size = { width: 0, height: 0 };

  constructor(kind, { pin }) {
    const template = document.querySelector('#tile-template');
    this.element = template.content.firstElementChild.cloneNode(true);
    this.element.dataset.kind = kind;
    this.kind = kind;
    this.pinned = false;
    this.#video = this.#part('video');
    // `muted` as markup alone is not enough for autoplay once a stream is attached by script.
    this.#video.muted = true;
    this.#part('.pin').addEventListener('click', () => pin(this));
    this.element.addEventListener('dblclick', (event) => {
      if (!event.target.closest('select, button')) pin(this);
    });
    this.#part('select').addEventListener('change', ({ target }) => {
      this.#choice = target.value;
      this.#askForQuality();
    });
  }

  #part(selector) {
    return this.element.querySelector(selector);
  }

  /// Shows what the participant and this publication are now.
  update(participant, publication) {
    this.#participant = participant;
    this.#publication = publication;
    const own = participant.isLocal;
    const shared = this.kind === 'screen';
    const name = participant.name || participant.identity;
    const label = shared ? (own ? 'Your screen' : `${name}: screen`) : own ? `${name} (you)` : name;
    this.#part('.name').textContent = label;
    this.#part('.initial').textContent = [...name][0]?.toUpperCase() ?? '?';
    this.element.style.setProperty('--hue', String((numberOf(name) * 47) % 360));
    const paused = publication?.track?.streamState === Track.StreamState.Paused;
    this.#attach(publication && !publication.isMuted ? publication.track : null);
    this.#part('.paused').hidden = !paused;
    this.#part('.quality').hidden = own || !this.#track;
    this.#part('select').setAttribute('aria-label', `Quality of ${label}`);
    // An SVG element has no `hidden` property.
    this.#part('.muted').toggleAttribute('hidden', shared || participant.isMicrophoneEnabled);
    this.element.classList.toggle('speaking', !shared && participant.isSpeaking);
    this.element.classList.toggle('whole', publication?.trackName === TEST_PICTURE);
    this.element.classList.toggle('mirrored', own && !shared && this.#isMirror());
    const [bars, words] = LINKS[participant.connectionQuality] ?? [0, 'connection not measured yet'];
    this.#part('.link').dataset.bars = participant.connectionQuality in LINKS ? bars : 'unknown';
    this.#part('.link').setAttribute('aria-label', words);
    this.#part('.link').title = words;
    this.#part('.pin').setAttribute('aria-pressed', String(this.pinned));
    this.#part('.pin').setAttribute('aria-label', `Enlarge ${label}`);
    const microphone = participant.getTrackPublication(Track.Source.Microphone)?.track;
    this.#audioMeter = shared || !microphone ? null
      : this.#audioMeter?.track === microphone ? this.#audioMeter : new Meter(microphone);
    this.#askForQuality();
  }

  /// One expects to see oneself as in a mirror; but not a test picture, whose text would be
  /// reversed, nor what a camera on the back sees.
  #isMirror() {
    const facing = this.#track?.mediaStreamTrack.getSettings().facingMode;
    return this.#publication?.trackName !== TEST_PICTURE && facing !== 'environment';
  }

  #attach(track) {
    if (this.#track !== (track ?? null)) {
      this.#track?.detach(this.#video);
      this.#track = track ?? null;
      this.#track?.attach(this.#video);
      this.#meter = this.#track && new Meter(this.#track);
    }
    this.element.classList.toggle('pictured', Boolean(this.#track));
    this.#part('.stats').hidden = !this.#track;
  }

  setVisible(visible) {
    this.#visible = visible;
    this.#askForQuality();
  }

  place({ left, top, width, height }) {
    const { style } = this.element;
    style.transform = `translate(${left}px, ${top}px)`;
    style.width = `${width}px`;
    style.height = `${height}px`;
    const density = Math.min(window.devicePixelRatio, DENSITY_MAX);
    const stepped = (css) => Math.ceil((css * density) / SIZE_STEP) * SIZE_STEP;
    this.#size = { width: stepped(width), height: stepped(height) };
    this.#askForQuality();
  }

  /// The SDK's adaptive stream would never ask for more than the tile's size, also for a quality
  /// chosen by hand; so the page asks itself, and a choice means what it says.
  #askForQuality() {
    const publication = this.#publication;
    if (!this.#track || this.#participant.isLocal || !this.#size.width) return;
    const auto = this.#choice === 'auto';
    publication.setEnabled(!auto || (this.#visible && !document.hidden));
    if (auto) publication.setVideoDimensions(this.#size);
    else publication.setVideoQuality(FIXED[this.#choice]);
  }

  /// Writes the line of figures; returns the kbit/s of picture and sound.
  async measure() {
    const [picture, sound] = await Promise.all([this.#meter?.read(), this.#audioMeter?.read()]);
    if (picture) {
      const announced = this.#publication?.trackInfo?.layers;
      this.#part('.stats').replaceChildren(...figures(picture, announced).map(([name, text]) => {
        const part = document.createElement('span');
        part.dataset.figure = name;
        part.textContent = text;
        return part;
      }));
    }
    return {
      kbps: (picture?.kbps ?? 0) + (sound?.kbps ?? 0),
      rttMs: picture?.rttMs ?? sound?.rttMs,
      own: this.#participant?.isLocal ?? false,
    };
  }

  remove() {
    this.#attach(null);
    this.element.remove();
  }
}
