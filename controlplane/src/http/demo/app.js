// The page: which view is shown, what the buttons do, and the line that says how the call stands.

import { Call, endOf, failureOf } from './call.js';
import { Chat } from './chat.js';
import { Refusal, answers, fill, form, mayCapture, openManual } from './form.js';
import { Preview } from './preview.js';
import { Tiles } from './tiles.js';

const { ConnectionState } = window.LivekitClient;

// The SDK names streams with crypto.randomUUID, which pages from plain HTTP lack. RFC 9562 §5.4:
// version 4, variant 10, the rest random.
crypto.randomUUID ??= () => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
};

const $ = (selector) => document.querySelector(selector);
const MEASURE_MS = 1000;
const SAY_MS = 9000;
/// Less than this is comfort noise and padding.
const FLOWING_KBPS_MIN = 20;

const chat = new Chat();
const tiles = new Tiles($('#tiles'));
const preview = new Preview($('#preview'), form);
let call = null;
let asked = null;
let meter = 0;

const STATES = {
  [ConnectionState.Connected]: 'Connected',
  [ConnectionState.Reconnecting]: 'Connection lost, reconnecting',
  [ConnectionState.SignalReconnecting]: 'Reconnecting to the server',
};

function view(name) {
  document.body.dataset.view = name;
  for (const section of document.querySelectorAll('[data-section]')) {
    section.hidden = section.dataset.section !== name;
  }
}

/// Tells something in passing.
function say(text) {
  const line = document.createElement('p');
  line.textContent = text;
  $('#said').append(line);
  setTimeout(() => line.remove(), SAY_MS);
}

function backToForm() {
  view('join');
  preview.resume();
}

function refuse(error) {
  backToForm();
  $('#join-error').textContent = error;
  $('#join-error').hidden = false;
  $('#join-error').scrollIntoView({ block: 'nearest' });
}

/// Sets an element's text only when it differs: a live region repeats what is written again.
function write(selector, text) {
  const element = $(selector);
  if (element.textContent !== text) element.textContent = text;
}

function show(room) {
  const { state, localParticipant: own } = room;
  document.body.dataset.state = state;
  if (state === ConnectionState.Disconnected) return;
  if (state === ConnectionState.Connecting) return;
  write('#state', STATES[state]);
  const people = room.remoteParticipants.size + 1;
  write('#room-name', asked.room);
  write('#people', people === 1 ? 'only you' : `${people} people`);
  tiles.update(room);
  enableControls(true);
  const alone = people === 1 && state === ConnectionState.Connected;
  $('#alone').hidden = !alone;
  $('#listen').hidden = room.canPlaybackAudio;
  button('#microphone', own.isMicrophoneEnabled, 'Mute', 'Unmute');
  button('#camera', own.isCameraEnabled, 'Stop picture', 'Start picture');
  button('#screen', own.isScreenShareEnabled, 'Stop sharing', 'Share screen');
}

function enableControls(enabled) {
  for (const selector of ['#microphone', '#camera', '#chat-button']) $(selector).disabled = !enabled;
  $('#screen').disabled = !enabled || !navigator.mediaDevices?.getDisplayMedia;
}

/// A button says what it will do; its colour, what is.
function button(selector, on, textOn, textOff) {
  const element = $(selector);
  element.dataset.on = String(on);
  element.querySelector('.text').textContent = on ? textOn : textOff;
  element.setAttribute('aria-label', on ? textOn : textOff);
}

function bitrate(kbps) {
  return kbps < 1000 ? `${Math.round(kbps)} kbit/s` : `${(kbps / 1000).toFixed(1)} Mbit/s`;
}

async function measure() {
  const { inKbps, outKbps, rttMs } = await tiles.measure();
  if (call?.room.state === ConnectionState.SignalReconnecting) {
    const flows = inKbps > FLOWING_KBPS_MIN;
    write('#state', STATES[ConnectionState.SignalReconnecting] + (flows ? ', pictures keep coming' : ''));
  }
  $('#rate-in').textContent = bitrate(inKbps);
  $('#rate-out').textContent = bitrate(outKbps);
  $('#rtt').textContent = rttMs === undefined ? '' : `RTT ${rttMs.toFixed(rttMs < 10 ? 1 : 0)} ms`;
}

async function join(values) {
  asked = values;
  $('#join-error').hidden = true;
  preview.pause();
  call = new Call({ show, say, note: (text) => chat.note(text), ended });
  const joining = call;
  chat.start(call.room);
  view('call');
  document.body.dataset.state = ConnectionState.Connecting;
  write('#state', `Connecting to ${values.url}`);
  write('#room-name', values.room);
  for (const gone of ['#people', '#rate-in', '#rate-out', '#rtt']) write(gone, '');
  enableControls(false);
  meter = setInterval(measure, MEASURE_MS);
  try {
    await call.join(values);
  } catch (error) {
    // Leaving while connecting also ends here; then there is nothing to tell.
    const left = joining !== call || error.reasonName === 'Cancelled';
    close();
    if (left) backToForm();
    else refuse(failureOf(error, values.url));
  }
}

function close() {
  clearInterval(meter);
  tiles.clear();
  chat.close();
  call = null;
}

function ended(reason) {
  close();
  document.body.dataset.state = ConnectionState.Disconnected;
  write('#state', 'Disconnected');
  write('#end-reason', endOf(reason));
  view('end');
  $('#again').focus();
}

async function submit() {
  const send = form.querySelector('[type=submit]');
  send.disabled = true;
  try {
    await join(await answers());
  } catch (error) {
    if (error instanceof Refusal && error.needsToken) openManual();
    refuse(error.message);
  } finally {
    send.disabled = false;
  }
}

async function copyInvitation() {
  const link = new URL(location.pathname, location.href);
  link.searchParams.set('room', asked.room);
  if (form.elements.url.value) link.searchParams.set('url', form.elements.url.value);
  try {
    await navigator.clipboard.writeText(link.href);
    say(`Copied: ${link.href}`);
  } catch {
    // No clipboard for pages from plain HTTP.
    say(link.href);
  }
}

function wire() {
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    submit();
  });
  const act = (selector, action) => $(selector).addEventListener('click', async () => {
    try {
      await action();
    } catch (error) {
      say(error.message);
    }
  });
  const choice = (name, otherwise) => (asked[name] === 'none' ? otherwise : asked[name]);
  act('#microphone', () => call?.toggleMicrophone(choice('sound', mayCapture ? 'microphone' : 'tone')));
  act('#camera', () => call?.toggleCamera(choice('picture', mayCapture ? 'camera' : 'test')));
  act('#screen', () => call?.toggleScreen());
  act('#leave', () => call?.leave());
  act('#listen', () => call?.room.startAudio());
  act('#invite', copyInvitation);
  act('#invite-alone', copyInvitation);
  act('#again', submit);
  act('#change', backToForm);
  act('#figures', () => {
    const shown = document.body.classList.toggle('without-figures') === false;
    $('#figures').setAttribute('aria-pressed', String(shown));
  });
  const screen = $('#screen');
  if (!navigator.mediaDevices?.getDisplayMedia) {
    screen.title = window.isSecureContext ? 'This browser cannot share a screen'
      : 'Browsers share screens from HTTPS or localhost only';
  }
}

fill();
wire();
preview.resume();
$('#server').textContent = location.host;
view('join');
