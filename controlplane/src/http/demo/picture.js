// The test picture and the test tone: media for those who have no camera or may not use it.
// The picture shows whether a call is well: the wheel turns evenly unless frames are missing, the
// clock tells the delay beside the sender's own, the counter tells lost frames.

/// The name under which the picture is published: other pages know by it what they see.
export const TEST_PICTURE = 'test picture';

/// What is drawn is measured in these units, whatever the picture's size in pixels.
const WIDTH = 1280;
const HEIGHT = 720;
/// Encoding three layers of 720p takes a core by itself (software VP8), and two tabs on a small
/// machine are a usual first try: there the picture is a quarter of that.
const SMALL = navigator.hardwareConcurrency < 4;
const SCALE = SMALL ? 0.5 : 1;
/// Everything to be read lies within the middle 4:3, which tiles of that shape show.
const LEFT = 178;
const TEXT_WIDTH = 470;
const FPS = SMALL ? 20 : 30;
const ROTATION_MS = 8000;

/// The tone sounds for the first part of every period, and the picture's lamp is lit just as long,
/// so that one can see whether sound and picture belong together.
const TONE_PERIOD_MS = 3000;
const TONE_MS = 1400;

const PALETTES = [
  { deep: '#0b3a44', high: '#14606c', wheel: '#e7c58f', water: '#57c4cf' },
  { deep: '#233a24', high: '#43693f', wheel: '#efd9a7', water: '#a3d39c' },
  { deep: '#1f2c52', high: '#3b5390', wheel: '#e9d2b0', water: '#8fb4f0' },
  { deep: '#4a2a1c', high: '#83502f', wheel: '#f5deb5', water: '#f0b98a' },
  { deep: '#3b2342', high: '#6a4273', wheel: '#eed6c4', water: '#d3a4de' },
  { deep: '#2a3338', high: '#515f66', wheel: '#e8d7b5', water: '#b3c8d2' },
];

/// A major pentatonic scale: any two of its notes sound well together.
const NOTES_HZ = [261.6, 293.7, 329.6, 392.0, 440.0, 523.3];

/// A small number that stays with a name, so that people differ in colour and note.
export function numberOf(name) {
  let sum = 7;
  for (const char of name) sum = (sum * 31 + char.codePointAt(0)) % 9973;
  return sum;
}

export class TestPicture {
  #canvas = document.createElement('canvas');
  #brush;
  #ticker = null;
  #backdrop = document.createElement('canvas');
  #frame = 0;
  #name = '';
  #palette = PALETTES[0];

  constructor(name) {
    for (const canvas of [this.#canvas, this.#backdrop]) {
      canvas.width = WIDTH * SCALE;
      canvas.height = HEIGHT * SCALE;
    }
    this.#brush = this.#canvas.getContext('2d', { alpha: false });
    this.#brush.scale(SCALE, SCALE);
    this.setName(name);
  }

  setName(name) {
    this.#name = name;
    this.#palette = PALETTES[numberOf(name) % PALETTES.length];
    this.#paintBackdrop();
    this.#draw();
  }

  /// Starts moving; returns the canvas, to show.
  start() {
    this.#ticker = new Worker(new URL('./ticker.js', import.meta.url));
    this.#ticker.onmessage = () => this.#draw();
    this.#ticker.postMessage(1000 / FPS);
    return this.#canvas;
  }

  /// A track of it, to send.
  capture() {
    const track = this.#canvas.captureStream(FPS).getVideoTracks()[0];
    // Moving lines rather than fine text: under a low bitrate the frame rate shall stay.
    track.contentHint = 'motion';
    return track;
  }

  stop() {
    this.#ticker?.terminate();
    this.#ticker = null;
  }

  /// What does not move is painted once.
  #paintBackdrop() {
    const brush = this.#backdrop.getContext('2d', { alpha: false });
    const { deep, high, wheel } = this.#palette;
    brush.setTransform(SCALE, 0, 0, SCALE, 0, 0);
    const sky = brush.createLinearGradient(0, 0, 0, HEIGHT);
    sky.addColorStop(0, high);
    sky.addColorStop(1, deep);
    brush.fillStyle = sky;
    brush.fillRect(0, 0, WIDTH, HEIGHT);
    brush.fillStyle = wheel;
    brush.textBaseline = 'alphabetic';
    const { fontFamily } = getComputedStyle(document.body);
    let size = 112;
    do {
      brush.font = `600 ${size}px ${fontFamily}`;
      size -= 8;
    } while (size > 40 && brush.measureText(this.#name).width > TEXT_WIDTH);
    brush.fillText(this.#name, LEFT, 255, TEXT_WIDTH);
  }

  #draw() {
    const now = Date.now();
    this.#frame += 1;
    const brush = this.#brush;
    brush.drawImage(this.#backdrop, 0, 0, WIDTH, HEIGHT);
    this.#drawWheel(890, 335, 200, (-(now % ROTATION_MS) / ROTATION_MS) * 2 * Math.PI);
    this.#drawWater(now);
    this.#drawFigures(now);
  }

  #drawFigures(now) {
    const brush = this.#brush;
    const clock = new Date(now);
    const two = (value) => String(value).padStart(2, '0');
    const time = [clock.getHours(), clock.getMinutes(), clock.getSeconds()].map(two).join(':');
    brush.fillStyle = '#fff';
    brush.font = '500 74px ui-monospace, monospace';
    brush.fillText(`${time}.${Math.floor(clock.getMilliseconds() / 100)}`, LEFT, 370);
    brush.font = '500 44px ui-monospace, monospace';
    brush.globalAlpha = 0.8;
    brush.fillText(`frame ${this.#frame}`, LEFT, 440);
    brush.globalAlpha = now % TONE_PERIOD_MS < TONE_MS ? 1 : 0.2;
    brush.beginPath();
    brush.arc(LEFT + 18, 128, 18, 0, 2 * Math.PI);
    brush.fill();
    brush.globalAlpha = 1;
  }

  #drawWheel(x, y, radius, angle) {
    const brush = this.#brush;
    brush.save();
    brush.translate(x, y);
    brush.rotate(angle);
    brush.strokeStyle = this.#palette.wheel;
    brush.fillStyle = this.#palette.wheel;
    const line = (width, from, to) => {
      brush.lineWidth = width;
      brush.beginPath();
      brush.moveTo(0, from * radius);
      brush.lineTo(0, to * radius);
      brush.stroke();
    };
    for (let blade = 0; blade < 16; blade += 1) {
      brush.rotate(Math.PI / 8);
      line(20, 0.7, 1.1);
      if (blade % 2 === 0) line(12, 0, 0.7);
    }
    brush.lineWidth = 13;
    for (const share of [0.95, 0.7]) {
      brush.beginPath();
      brush.arc(0, 0, radius * share, 0, 2 * Math.PI);
      brush.stroke();
    }
    brush.beginPath();
    brush.arc(0, 0, radius * 0.17, 0, 2 * Math.PI);
    brush.fill();
    brush.restore();
  }

  #drawWater(now) {
    const brush = this.#brush;
    brush.fillStyle = this.#palette.water;
    const lines = [
      { top: 540, height: 16, length: 420, ms: 5200, alpha: 0.3 },
      { top: 590, height: 20, length: 560, ms: 6400, alpha: 0.42 },
      { top: 645, height: 14, length: 680, ms: 9000, alpha: 0.6 },
    ];
    for (const { top, height, length, ms, alpha } of lines) {
      const shift = (now / ms) * 2 * Math.PI;
      brush.globalAlpha = alpha;
      brush.beginPath();
      brush.moveTo(0, HEIGHT);
      for (let x = 0; x <= WIDTH; x += 20) {
        brush.lineTo(x, top + height * Math.sin((x / length) * 2 * Math.PI - shift));
      }
      brush.lineTo(WIDTH, HEIGHT);
      brush.fill();
    }
    brush.globalAlpha = 1;
  }
}

/// A soft note that comes and goes. Returns its track and how to stop it.
export function startTone(name) {
  const audio = new AudioContext();
  const length = Math.round((audio.sampleRate * TONE_PERIOD_MS) / 1000);
  const buffer = audio.createBuffer(1, length, audio.sampleRate);
  const samples = buffer.getChannelData(0);
  const pitch = NOTES_HZ[numberOf(name) % NOTES_HZ.length];
  for (let i = 0; i < (length * TONE_MS) / TONE_PERIOD_MS; i += 1) {
    const seconds = i / audio.sampleRate;
    const envelope = Math.min(1, seconds / 0.02) * Math.exp(-seconds * 1.6);
    const cycle = 2 * Math.PI * pitch * seconds;
    samples[i] = 0.3 * envelope * (Math.sin(cycle) + 0.3 * Math.sin(2 * cycle));
  }
  // One looped buffer needs no timer, which a hidden page would not get in time.
  const source = new AudioBufferSourceNode(audio, { buffer, loop: true });
  const sink = audio.createMediaStreamDestination();
  source.connect(sink);
  source.start(audio.currentTime + (TONE_PERIOD_MS - (Date.now() % TONE_PERIOD_MS)) / 1000);
  audio.resume();
  return { track: sink.stream.getAudioTracks()[0], stop: () => audio.close() };
}
