// Pictures and tones to publish: made in the page, so every test knows what it must see and hear.
'use strict';

const FRAMES_MAX = 5000;

// When pictures were drawn, in ms since the epoch: a page without processor time draws late.
const drawn = [];

function noiseCanvas(width, height) {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  let seed = 1;
  for (let i = 0; i < pixels.length; i += 1) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    pixels[i] = 0xff000000 | (seed >>> 8);
  }
  canvas.getContext('2d').putImageData(image, 0, 0);
  return canvas;
}

// A picture that changes all over with every frame: `noisy` ones cannot be compressed. Returns its
// track and how to stop.
function picture({ width, height, fps, noisy }) {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d');
  // Drawn once, shown from another corner each time: new noise is too slow at 720p.
  const noise = noisy ? noiseCanvas(2 * width, 2 * height) : null;
  let frame = 0;
  const timer = setInterval(() => {
    frame += 1;
    drawn.push(Date.now());
    if (drawn.length > FRAMES_MAX) drawn.shift();
    if (noise) {
      context.drawImage(noise, -Math.random() * width, -Math.random() * height);
      return;
    }
    context.fillStyle = `hsl(${(frame * 3) % 360} 70% 50%)`;
    context.fillRect(0, 0, width, height);
    context.fillStyle = '#fff';
    context.font = `${height / 4}px sans-serif`;
    context.fillText(String(frame), width / 8, height / 2);
    context.fillRect((frame * 8) % width, height * 0.7, width / 10, height / 10);
  }, 1000 / fps);
  const [track] = canvas.captureStream(fps).getVideoTracks();
  return { track, stop: () => clearInterval(timer) };
}

let audioContext = null;
function audio() {
  audioContext ??= new AudioContext();
  return audioContext;
}

// A tone of one frequency: its track, its oscillator and how to stop.
async function toneSource(hz) {
  const context = audio();
  await context.resume();
  const oscillator = context.createOscillator();
  oscillator.frequency.value = hz;
  const destination = context.createMediaStreamDestination();
  oscillator.connect(destination);
  oscillator.start();
  return { track: destination.stream.getAudioTracks()[0], oscillator, stop: () => oscillator.stop() };
}

// Loudest frequency of an audio track, in Hz; 0 when silent.
async function loudest(track) {
  const context = audio();
  await context.resume();
  const source = context.createMediaStreamSource(new MediaStream([track]));
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
}
