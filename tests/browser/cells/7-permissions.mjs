// What a token allows, what it does not, and which tokens are none.
import { createHmac } from 'node:crypto';
import { TrackSource } from 'livekit-server-sdk';
import { eventually, events, expect, flows, sleep } from '../lib/call.mjs';
import { nodeRooms } from '../lib/rooms.mjs';
import { KEY, SECRET } from '../lib/token.mjs';

const SMALL = { width: 320, height: 180 };

async function tracksOf(call, page, identity) {
  return (await call.seen(page, identity))?.tracks ?? [];
}

/// Long enough for what is not to come to have come.
const settle = () => sleep(1500);

async function cannotPublish(t) {
  const call = t.call();
  const bob = await call.join('bob', 'chromium');
  const alice = await call.join('alice', 'chromium', { grant: { canPublish: false } });
  const { error } = await alice.call('attempt', 'publishVideo', SMALL);
  expect(error?.kind === 'PublishTrackError' || error?.status === 403, `publishing gave ${JSON.stringify(error)}`);
  // The SDK asked itself. One that does not must be refused by the server.
  const unasked = alice.call('attempt', 'publishUnasked', SMALL).catch(() => ({}));
  await settle();
  expect((await tracksOf(call, bob, 'alice')).length === 0, 'bob sees a track of one who may not publish');
  if (!t.deep) return;
  // Without an answer the SDK gives up after ten seconds.
  const got = await unasked;
  t.figure('refused with', got.error?.message ?? 'nothing');
  expect(got.error, 'the server let her publish');
}

async function limitedSources(t) {
  const call = t.call();
  const bob = await call.join('bob', 'chromium');
  const alice = await call.join('alice', 'chromium', { grant: { canPublish: true, canPublishSources: [TrackSource.MICROPHONE] } });
  const { error } = await alice.call('attempt', 'publishVideo', SMALL);
  expect(error?.status === 403, `publishing a camera gave ${JSON.stringify(error)}`);
  await alice.call('publishTone', 700);
  await eventually('bob hears alice', async () => Math.abs(await bob.call('tone', 'alice') - 700) < 25);
  alice.call('attempt', 'publishUnasked', SMALL).catch(() => {});
  await settle();
  const sources = (await tracksOf(call, bob, 'alice')).map(({ source }) => source);
  expect(sources.join() === 'microphone', `bob sees ${sources.join()} of alice`);
}

async function cannotSubscribe(t) {
  const call = t.call();
  const alice = await call.join('alice', 'chromium');
  await alice.call('publishVideo', SMALL);
  const bob = await call.join('bob', 'chromium', { grant: { canSubscribe: false } });
  // One who may, so that there is something to miss.
  const carol = await call.join('carol', 'chromium');
  await carol.call('firstFrameAt', 'alice', 'camera', 10_000);
  await settle();
  expect((await events(bob, 'trackSubscribed')).length === 0, 'bob was subscribed');
  expect((await tracksOf(call, bob, 'alice')).every(({ subscribed }) => !subscribed), 'bob has a track');
  const { canSubscribe } = await bob.call('permissions');
  expect(canSubscribe === false, 'bob is not told that he may not subscribe');
}

async function cannotPublishData(t) {
  const call = t.call();
  const bob = await call.join('bob', 'chromium');
  const alice = await call.join('alice', 'chromium', { grant: { canPublishData: false } });
  const carol = await call.join('carol', 'chromium');
  for (const reliable of [true, false]) await alice.call('attempt', 'publishData', 'from alice', { reliable });
  await carol.call('publishData', 'from carol', { reliable: true });
  const received = async () => (await bob.call('received')).data.map(({ text }) => text);
  await eventually('bob has what carol sent', async () => (await received()).includes('from carol'));
  await settle();
  expect(!(await received()).includes('from alice'), 'bob has data of one who may not send any');
}

async function hidden(t) {
  const call = t.call();
  const bob = await call.join('bob', 'chromium');
  await bob.call('publishVideo', SMALL);
  const ghost = await call.join('ghost', 'chromium', { grant: { hidden: true, canPublish: false } });
  await ghost.call('firstFrameAt', 'bob', 'camera', 10_000);
  await settle();
  const carol = await call.join('carol', 'chromium');
  await eventually('carol and bob see each other', async () => await call.seen(carol, 'bob') && await call.seen(bob, 'carol'));
  for (const page of [bob, carol]) {
    expect(!(await call.seen(page, 'ghost')), `${page.identity} sees the hidden participant`);
    const seen = (await events(page, 'participantConnected')).some(({ detail }) => detail[0] === 'ghost');
    expect(!seen, `${page.identity} saw the hidden participant come`);
  }
}

async function maxParticipants(t) {
  const call = t.call();
  await nodeRooms(t.server.http).rpc('create_room', { name: call.room, maxParticipants: 2, emptyTimeout: 60 });
  await call.join('alice', 'chromium');
  const bob = await call.join('bob', 'chromium');
  const carol = await call.page('carol', 'chromium');
  const { error } = await carol.call('attempt', 'connect', call.url, await call.token('carol'));
  t.figure('the third', `${error?.reason} ${error?.status ?? ''}`);
  expect(error?.kind === 'ConnectionError', `a third participant: ${JSON.stringify(error)}`);
  expect((await bob.call('participants')).length === 1, 'bob sees more than alice');
  await call.leave(bob);
  await eventually('carol comes in when bob has left', async () =>
    !(await carol.call('attempt', 'connect', call.url, await call.token('carol'))).error, 10_000);
}

async function subscriptionPermissions(t) {
  const call = t.call();
  const alice = await call.join('alice', 'chromium');
  const bob = await call.join('bob', 'chromium');
  const carol = await call.join('carol', 'chromium');
  await call.video(alice, [bob, carol], SMALL);
  await alice.call('permitSubscriptions', false, [{ participantIdentity: 'carol', allowAll: true }]);
  await eventually('bob loses the track', async () => (await events(bob, 'trackUnsubscribed')).length > 0);
  await flows(carol, 'alice', 'camera', 2);
  expect((await events(bob, 'trackSubscriptionPermissionChanged')).length > 0, 'bob is not told why');
  await bob.call('forgetFirstFrames');
  await alice.call('permitSubscriptions', true);
  await bob.call('firstFrameAt', 'alice', 'camera', 5000);
}

async function subscribing(t) {
  const call = t.call();
  const alice = await call.join('alice', 'chromium');
  const bob = await call.join('bob', 'chromium');
  await call.video(alice, [bob], SMALL);
  for (let round = 0; round < (t.deep ? 10 : 2); round += 1) {
    const gone = (await events(bob, 'trackUnsubscribed')).length;
    await bob.call('setSubscribed', 'alice', 'camera', false);
    await eventually('bob is unsubscribed', async () => (await events(bob, 'trackUnsubscribed')).length > gone);
    await bob.call('forgetFirstFrames');
    const start = Date.now();
    await bob.call('setSubscribed', 'alice', 'camera', true);
    const first = await bob.call('firstFrameAt', 'alice', 'camera', 5000);
    t.figure('frame after subscribing', first - start, ' ms');
  }
  // Paused without a new negotiation.
  await bob.call('setEnabled', 'alice', 'camera', false);
  await sleep(1000);
  const { framesReceived } = await bob.call('inbound', 'alice', 'camera');
  await sleep(1000);
  const late = (await bob.call('inbound', 'alice', 'camera')).framesReceived - framesReceived;
  expect(late === 0, `a disabled track brought ${late} frames`);
  await bob.call('setEnabled', 'alice', 'camera', true);
  await flows(bob, 'alice', 'camera', 1);
}

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/// A token of our own making, for what no SDK would sign.
function forged({ header = { alg: 'HS256', typ: 'JWT' }, claims = {}, key = SECRET, sign = true } = {}) {
  const now = Math.floor(Date.now() / 1000);
  const body = `${part(header)}.${part({
    iss: KEY, sub: 'mallory', nbf: now - 5, exp: now + 600,
    video: { roomJoin: true, room: 'somewhere' }, ...claims,
  })}`;
  return `${body}.${sign ? createHmac('sha256', key).update(body).digest('base64url') : ''}`;
}

function badTokens() {
  const now = Math.floor(Date.now() / 1000);
  return {
    'garbage': 'garbage',
    'three parts of garbage': 'a.b.c',
    'alg none': forged({ header: { alg: 'none', typ: 'JWT' }, sign: false }),
    'alg none with a signature': forged({ header: { alg: 'none', typ: 'JWT' } }),
    'no signature': forged({ sign: false }),
    'another secret': forged({ key: 'another secret of some length 00' }),
    'an unknown key': forged({ claims: { iss: 'nokey' } }),
    // livekit-server forgives a minute.
    'expired': forged({ claims: { exp: now - 600, nbf: now - 1200 } }),
    'not yet valid': forged({ claims: { nbf: now + 600, exp: now + 1200 } }),
    'no grant': forged({ claims: { video: undefined } }),
    'no roomJoin': forged({ claims: { video: { room: 'somewhere', roomList: true } } }),
    'no room': forged({ claims: { video: { roomJoin: true } } }),
  };
}

async function tokens(t) {
  const call = t.call();
  const page = await call.page('mallory', 'chromium');
  // What is refused below would be let in but for its fault.
  const good = await fetch(`${t.server.http}/rtc/validate?access_token=${forged()}`);
  expect(good.status === 200, `/rtc/validate of a good token: ${good.status}`);
  const statuses = new Map();
  for (const [what, token] of Object.entries(badTokens())) {
    const { status } = await fetch(`${t.server.http}/rtc/validate?access_token=${encodeURIComponent(token)}`);
    statuses.set(status, [...statuses.get(status) ?? [], what]);
    // Without a room the request is what is wrong, and the SDK tells the two apart.
    const wrong = what === 'no room' ? [400, 401] : [401];
    expect(wrong.includes(status), `/rtc/validate with ${what}: ${status}`);
    const { error } = await page.call('attempt', 'connect', call.url, token);
    expect(error?.kind === 'ConnectionError' && (status !== 401 || error.reason === 'NotAllowed'),
      `connecting with ${what}: ${JSON.stringify(error)}`);
  }
  t.figure('statuses', [...statuses].map(([status, list]) => `${status} x ${list.length}`).join(' '));
  const none = await fetch(`${t.server.http}/rtc/validate`);
  expect(none.status === 401, `/rtc/validate without a token: ${none.status}`);
}

/// A token opens its own room only.
async function otherRoom(t) {
  const [here, there] = [t.call(), t.call()];
  const alice = await here.join('alice', 'chromium');
  const bob = await there.join('bob', 'chromium');
  await alice.call('publishVideo', SMALL);
  await bob.call('publishData', 'into the other room', { reliable: true });
  const asked = await fetch(`${t.server.http}/rtc/validate?access_token=${await there.token('bob')}&room=${here.room}`);
  t.figure('validate with another room', asked.status);
  await settle();
  expect((await bob.call('participants')).length === 0, 'bob sees into another room');
  expect((await alice.call('received')).data.length === 0, 'data came from another room');
}

export default [
  { name: 'canPublish false', run: cannotPublish },
  { name: 'canPublishSources microphone', run: limitedSources },
  { name: 'canSubscribe false', run: cannotSubscribe },
  { name: 'canPublishData false', run: cannotPublishData },
  { name: 'hidden', run: hidden },
  { name: 'maxParticipants', run: maxParticipants },
  { name: 'setTrackSubscriptionPermissions', run: subscriptionPermissions },
  { name: 'setSubscribed and setEnabled', run: subscribing },
  { name: 'bad tokens', run: tokens },
  { name: 'rooms are apart', run: otherRoom },
];
