// The form before a call: who, where, with what; and the token, which a server in development gives
// away and any other does not.

const STORE = 'millrace.demo';
const NAMES = ['Otter', 'Heron', 'Dipper', 'Trout', 'Beaver', 'Wagtail', 'Salmon', 'Curlew',
  'Grayling', 'Swallow', 'Newt', 'Kingfisher'];

/// Browsers give camera and microphone to pages from HTTPS or this machine alone.
export const mayCapture = window.isSecureContext && Boolean(navigator.mediaDevices?.getUserMedia);

/// Why a join failed before it began, in words for the page.
export class Refusal extends Error {
  constructor(message, { needsToken = false } = {}) {
    super(message);
    this.needsToken = needsToken;
  }
}

export const form = document.querySelector('#join-form');
const field = (name) => form.elements[name];

function remembered() {
  try {
    return JSON.parse(sessionStorage.getItem(STORE)) ?? {};
  } catch {
    return {};
  }
}

function remember(values) {
  try {
    sessionStorage.setItem(STORE, JSON.stringify(values));
  } catch {
    // Storage may be refused; then the page forgets.
  }
}

/// Fills the form: the address first, then what this tab remembers, then a guess.
export function fill() {
  const query = new URLSearchParams(location.search);
  const before = remembered();
  const guess = {
    room: 'lobby',
    name: `${NAMES[Math.floor(Math.random() * NAMES.length)]} ${10 + Math.floor(Math.random() * 90)}`,
    picture: mayCapture ? 'camera' : 'test',
    sound: mayCapture ? 'microphone' : 'none',
    url: '',
  };
  for (const [name, value] of Object.entries(guess)) {
    field(name).value = query.get(name) || before[name] || value;
  }
  if (!mayCapture) {
    for (const choice of form.querySelectorAll('[value=camera], [value=microphone]')) {
      choice.disabled = true;
      if (choice.checked) field(choice.name).value = choice.name === 'picture' ? 'test' : 'none';
    }
    explainRefusal();
  }
  field('url').placeholder = ownServer();
  if (query.get('url') && !sameHost(query.get('url'))) openManual();
  field('token').addEventListener('input', describeToken);
}

function explainRefusal() {
  const notice = document.querySelector('#insecure');
  notice.querySelector('.host').textContent = location.host;
  const local = notice.querySelector('.local');
  local.textContent = `http://localhost:${location.port || 80}/demo`;
  notice.hidden = false;
}

/// The page's own server, as a WebSocket address.
function ownServer() {
  return location.origin.replace(/^http/, 'ws');
}

function sameHost(url) {
  try {
    return new URL(url, location.href).hostname === location.hostname;
  } catch {
    return false;
  }
}

export function openManual() {
  document.querySelector('#manual').open = true;
}

/// The claims of a token, unverified: to show what was pasted.
function claimsOf(token) {
  try {
    const body = token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(body), (c) => c.codePointAt(0))));
  } catch {
    return null;
  }
}

function describeToken() {
  const line = document.querySelector('#token-says');
  const token = field('token').value.trim();
  const claims = token && claimsOf(token);
  line.hidden = !token;
  if (!token) return;
  if (!claims) {
    line.textContent = 'This is no token: it should be three parts with dots between them.';
    return;
  }
  const until = claims.exp ? new Date(claims.exp * 1000) : null;
  const validity = !until ? '' : until < new Date() ? ' It expired ' : ' It is valid until ';
  line.textContent = `Joins room “${claims.video?.room ?? '?'}” as “${claims.sub ?? '?'}”.`
    + `${validity}${until ? `${until.toLocaleString()}.` : ''}`;
}

/// What the form says, with the token. Throws a Refusal when there is none.
export async function answers() {
  const values = Object.fromEntries(['room', 'name', 'picture', 'sound', 'url']
    .map((name) => [name, field(name).value.trim()]));
  remember(values);
  const url = values.url || ownServer();
  const pasted = field('token').value.trim();
  if (pasted) {
    const claims = claimsOf(pasted);
    if (!claims) throw new Refusal('The pasted token is not a token.', { needsToken: true });
    if (claims.exp * 1000 < Date.now()) {
      throw new Refusal('The pasted token has expired.', { needsToken: true });
    }
    return { ...values, url, token: pasted, room: claims.video?.room ?? values.room };
  }
  if (!sameHost(url)) {
    // A token of this server is of no use elsewhere, and nobody else's business.
    throw new Refusal(`Joining on ${url} needs a token of that server.`, { needsToken: true });
  }
  return { ...values, url, token: await fetchToken(values) };
}

async function fetchToken({ room, name }) {
  const query = new URLSearchParams({ room, identity: name });
  let response;
  try {
    response = await fetch(`/demo/token?${query}`, { cache: 'no-store' });
  } catch {
    throw new Refusal(`The server at ${location.host} does not answer. Is it running?`);
  }
  if (response.ok) return (await response.text()).trim();
  if (response.status === 404 || response.status === 403) {
    throw new Refusal('This server gives no tokens away: it does so with \u2011\u2011dev only. '
      + 'Paste one below.', { needsToken: true });
  }
  throw new Refusal(`The server answered ${response.status}: ${(await response.text()).slice(0, 200)}`);
}
