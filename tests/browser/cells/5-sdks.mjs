// LiveKit's other SDKs: the native client from Python in a call with browsers, and the RoomService
// driven from Python and from Node.
import { eventually, events, expect, flows, sleep } from '../lib/call.mjs';
import { startPython, whyNoPython } from '../lib/python.mjs';
import { nodeRooms, pythonRooms } from '../lib/rooms.mjs';
import { mint } from '../lib/token.mjs';

// livekit-client's numbers.
const PARTICIPANT_REMOVED = 4;
const ROOM_DELETED = 5;

async function native(t, browser, single) {
  if (whyNoPython()) t.skip(whyNoPython());
  const call = t.call();
  const bob = await call.join('bob', browser, { single });
  const nina = startPython('participant.py');
  t.atEnd(nina.close);
  const start = Date.now();
  await nina.call('connect', call.url, await call.token('nina'), single);
  t.figure('connect', Date.now() - start, ' ms');

  await nina.call('publish', 660);
  await bob.call('firstFrameAt', 'nina', 'camera', 10_000);
  const { fps } = await flows(bob, 'nina', 'camera', 3);
  t.figure('fps from the native client', fps);
  await eventually('bob hears 660 Hz of nina', async () => Math.abs(await bob.call('tone', 'nina') - 660) < 25);

  await bob.call('publishVideo', { width: 320, height: 180 });
  await bob.call('publishTone', 880);
  await eventually('nina decodes bob', async () => (await nina.call('seen', 'bob')).count > 0, 10_000);
  const before = await nina.call('seen', 'bob');
  await sleep(3000);
  const after = await nina.call('seen', 'bob');
  t.figure('fps to the native client', (after.count - before.count) / 3);
  expect(after.count - before.count >= 12, `nina decoded ${after.count - before.count} frames in 3 s`);
  expect(after.width === 320, `nina sees bob ${after.width} wide`);
  await eventually('nina hears 880 Hz of bob', async () => Math.abs(await nina.call('tone', 'bob') - 880) < 25);

  await nina.call('send', 'from nina');
  await bob.call('publishData', 'from bob', { reliable: true, topic: 'page' });
  await eventually('bob has the data', async () => (await bob.call('received')).data
    .some(({ text, from, topic }) => text === 'from nina' && from === 'nina' && topic === 'native'));
  await eventually('nina has the data', async () => (await nina.call('messages'))
    .some(({ text, from, topic }) => text === 'from bob' && from === 'bob' && topic === 'page'));
  expect(await nina.call('rpc', 'bob', '8') === '16', 'rpc from the native client to the page');

  await nina.call('leave');
  await eventually('nina has left', async () => !(await call.seen(bob, 'nina')));
}

/// What the call of `method` is refused with.
async function refused(rooms, method, request, keys) {
  try {
    await rooms.rpc(method, request, keys);
  } catch (error) {
    return { status: error.status, code: error.code, message: error.message };
  }
  return { status: 200, code: 'none', message: 'it was not refused' };
}

async function expectRefused(rooms, method, request, status, code, keys) {
  const got = await refused(rooms, method, request, keys);
  expect(got.status === status && (code === undefined || got.code === code),
    `${method} ${JSON.stringify(request)}: ${got.status} ${got.code} (${got.message}), not ${status} ${code ?? ''}`);
}

async function roomsWithoutPeople(rooms, room) {
  const created = await rooms.rpc('create_room', { name: room, emptyTimeout: 120, maxParticipants: 7, metadata: 'm0' });
  expect(created.name === room && created.sid.startsWith('RM_') && created.metadata === 'm0'
    && created.maxParticipants === 7 && created.emptyTimeout === 120, `created ${JSON.stringify(created)}`);
  const again = await rooms.rpc('create_room', { name: room });
  expect(again.sid === created.sid, `creating ${room} again gave another room`);
  const all = await rooms.rpc('list_rooms', {});
  expect(all.rooms.some(({ name }) => name === room), 'list_rooms lacks the room');
  const named = await rooms.rpc('list_rooms', { names: [room] });
  expect(named.rooms.length === 1 && named.rooms[0].sid === created.sid, `listed ${JSON.stringify(named)}`);
  const none = await rooms.rpc('list_rooms', { names: [`${room}-none`] });
  expect((none.rooms ?? []).length === 0, 'a room that is none was listed');
}

async function people(rooms, call, alice, bob) {
  const { room } = call;
  const listed = await rooms.rpc('list_participants', { room });
  const identities = listed.participants.map(({ identity }) => identity).sort().join();
  expect(identities === 'alice,bob', `participants are ${identities}`);
  const { value: seen } = await eventually('alice is active with a camera', async () => {
    const found = await rooms.rpc('get_participant', { room, identity: 'alice' });
    return found.state === 'ACTIVE' && found.tracks?.length === 1 && found;
  });
  expect(seen.sid === alice.sid, `alice is ${seen.sid}, not ${alice.sid}`);
  expect(seen.tracks[0].source === 'CAMERA', `the track is a ${seen.tracks[0].source}`);
  await eventually('the room counts two participants and a publisher', async () => {
    const [found] = (await rooms.rpc('list_rooms', { names: [room] })).rooms;
    return found.numParticipants === 2 && found.numPublishers === 1;
  }, 10_000);
  return seen.tracks[0].sid;
}

async function tracks(rooms, call, alice, bob, trackSid) {
  const { room } = call;
  const camera = async () => (await call.seen(bob, 'alice')).tracks.find(({ source }) => source === 'camera');
  const { track } = await rooms.rpc('mute_published_track', { room, identity: 'alice', trackSid, muted: true });
  expect(track.sid === trackSid && track.muted === true, `muted ${JSON.stringify(track)}`);
  await eventually('alice is told of the mute', async () => (await events(alice, 'trackMuted')).length > 0);
  await eventually('bob sees the mute', async () => (await camera()).muted);
  // Without `room.enable_remote_unmute` nobody switches another's camera on.
  await expectRefused(rooms, 'mute_published_track', { room, identity: 'alice', trackSid, muted: false },
    412, 'failed_precondition');
  await alice.call('unmute', 'camera');
  await eventually('bob sees alice unmute', async () => !(await camera()).muted);

  await rooms.rpc('update_subscriptions', { room, identity: 'bob', trackSids: [trackSid], subscribe: false });
  await eventually('bob is unsubscribed', async () => (await events(bob, 'trackUnsubscribed')).length > 0);
  await bob.call('forgetFirstFrames');
  await rooms.rpc('update_subscriptions', { room, identity: 'bob', trackSids: [trackSid], subscribe: true });
  await bob.call('firstFrameAt', 'alice', 'camera', 5000);
}

async function updates(rooms, call, alice, bob) {
  const { room } = call;
  const updated = await rooms.rpc('update_participant', {
    room, identity: 'alice', name: 'Alice A.', metadata: 'about alice', attributes: { role: 'host' } });
  expect(updated.name === 'Alice A.' && updated.metadata === 'about alice' && updated.attributes.role === 'host',
    `updated ${JSON.stringify(updated)}`);
  await eventually('bob sees name, metadata and attributes', async () => {
    const seen = await call.seen(bob, 'alice');
    return seen.name === 'Alice A.' && seen.metadata === 'about alice' && seen.attributes.role === 'host';
  });
  await rooms.rpc('update_participant', { room, identity: 'bob',
    permission: { canSubscribe: true, canPublish: false, canPublishData: true } });
  await eventually('bob learns his permissions', async () => !(await bob.call('permissions')).canPublish);
  const { error } = await bob.call('attempt', 'publishVideo', {});
  expect(error?.status === 403, `bob published: ${JSON.stringify(error)}`);

  await rooms.rpc('update_room_metadata', { room, metadata: 'm1' });
  for (const page of [alice, bob]) {
    await eventually(`${page.identity} sees the room's metadata`, async () => await page.call('roomMetadata') === 'm1');
  }
}

async function data(rooms, call, alice, bob) {
  const { room } = call;
  const send = (text, more) => rooms.rpc('send_data',
    { room, data: Buffer.from(text).toString('base64'), ...more });
  await send('for bob', { destinationIdentities: ['bob'], topic: 'server' });
  await send('for all', { topic: 'server' });
  for (const page of [alice, bob]) {
    await eventually(`${page.identity} has the server's data`, async () => (await page.call('received')).data
      .some(({ text, from, topic }) => text === 'for all' && from === undefined && topic === 'server'));
  }
  const texts = async (page) => (await page.call('received')).data.map(({ text }) => text);
  expect((await texts(bob)).includes('for bob'), 'bob lacks what was sent to him');
  expect(!(await texts(alice)).includes('for bob'), 'alice got what was for bob');
}

async function endings(rooms, call, alice, bob) {
  const { room } = call;
  await rooms.rpc('remove_participant', { room, identity: 'bob' });
  const { value: [removed] } = await eventually('bob is out', async () => {
    const found = await events(bob, 'disconnected');
    return found.length > 0 && found;
  });
  expect(removed.detail[0] === PARTICIPANT_REMOVED, `bob left for reason ${removed.detail[0]}`);
  await eventually('alice sees bob go', async () => !(await call.seen(alice, 'bob')));
  await rooms.rpc('delete_room', { room });
  const { value: [deleted] } = await eventually('alice is out', async () => {
    const found = await events(alice, 'disconnected');
    return found.length > 0 && found;
  });
  expect(deleted.detail[0] === ROOM_DELETED, `alice left for reason ${deleted.detail[0]}`);
  await eventually('the room is gone', async () =>
    ((await rooms.rpc('list_rooms', { names: [room] })).rooms ?? []).length === 0);
}

async function refusals(t, rooms, call) {
  const { room } = call;
  const none = `${room}-none`;
  await expectRefused(rooms, 'get_participant', { room, identity: 'nobody' }, 404, 'not_found');
  await expectRefused(rooms, 'remove_participant', { room, identity: 'nobody' }, 404, 'not_found');
  await expectRefused(rooms, 'update_participant', { room, identity: 'nobody', name: 'x' }, 404, 'not_found');
  // Here livekit-server finds nobody to ask and answers 503, so only the refusal is held to.
  for (const [method, request] of [
    ['mute_published_track', { room, identity: 'nobody', trackSid: 'TR_none', muted: true }],
    ['update_subscriptions', { room, identity: 'nobody', trackSids: ['TR_none'], subscribe: true }],
  ]) {
    const { status } = await refused(rooms, method, request);
    expect(status >= 400, `${method} of nobody was answered with ${status}`);
  }
  await expectRefused(rooms, 'delete_room', { room: none }, 404, 'not_found');
  await expectRefused(rooms, 'update_room_metadata', { room: none, metadata: 'x' }, 404, 'not_found');
  await expectRefused(rooms, 'list_rooms', {}, 401, undefined, { secret: 'another secret of some length 00' });
  await expectRefused(rooms, 'list_rooms', {}, 401, undefined, { key: 'nokey' });

  // A token to join with is no token to administer with, and none at all is none.
  const post = (headers) => fetch(`${t.server.http}/twirp/livekit.RoomService/ListRooms`, {
    method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: '{}' });
  for (const [what, headers] of [['no token', {}],
    ['a join token', { authorization: `Bearer ${await mint('alice', room)}` }],
    ['garbage', { authorization: 'Bearer garbage' }]]) {
    const response = await post(headers);
    expect(response.status === 401, `ListRooms with ${what}: ${response.status}`);
  }
}

async function roomService(t, start) {
  const rooms = start(t.server.http);
  t.atEnd(rooms.close);
  const call = t.call();
  await roomsWithoutPeople(rooms, call.room);
  const bob = await call.join('bob', 'chromium');
  const alice = await call.join('alice', 'chromium');
  await call.video(alice, [bob], { width: 320, height: 180 });
  const trackSid = await people(rooms, call, alice, bob);
  await tracks(rooms, call, alice, bob, trackSid);
  await updates(rooms, call, alice, bob);
  await data(rooms, call, alice, bob);
  await refusals(t, rooms, call);
  await endings(rooms, call, alice, bob);
}

export default [
  { name: 'native client with chromium, single peer connection', run: (t) => native(t, 'chromium', true) },
  { name: 'native client with firefox, dual peer connection', run: (t) => native(t, 'firefox', false) },
  {
    name: 'every method of the RoomService, PyPI livekit-api',
    run: (t) => {
      if (whyNoPython()) t.skip(whyNoPython());
      return roomService(t, pythonRooms);
    },
  },
  { name: 'every method of the RoomService, npm livekit-server-sdk', run: (t) => roomService(t, nodeRooms) },
];
