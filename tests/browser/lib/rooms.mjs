// The RoomService through LiveKit's two server SDKs, behind one shape: `rpc(method, request)` with
// the protocol's names and JSON.
import { RoomServiceClient } from 'livekit-server-sdk';
import { startPython } from './python.mjs';
import { KEY, SECRET } from './token.mjs';

const bytes = (base64) => Uint8Array.from(Buffer.from(base64, 'base64'));

const CALLS = {
  create_room: (client, request) => client.createRoom(request),
  list_rooms: async (client, { names }) => ({ rooms: plain(await client.listRooms(names)) }),
  delete_room: (client, { room }) => client.deleteRoom(room),
  update_room_metadata: (client, { room, metadata }) => client.updateRoomMetadata(room, metadata),
  list_participants: async (client, { room }) => ({ participants: plain(await client.listParticipants(room)) }),
  get_participant: (client, { room, identity }) => client.getParticipant(room, identity),
  remove_participant: (client, { room, identity }) => client.removeParticipant(room, identity),
  mute_published_track: async (client, { room, identity, trackSid, muted }) =>
    ({ track: plain(await client.mutePublishedTrack(room, identity, trackSid, muted)) }),
  update_participant: (client, { room, identity, ...update }) => client.updateParticipant(room, identity, update),
  update_subscriptions: (client, { room, identity, trackSids, subscribe }) =>
    client.updateSubscriptions(room, identity, trackSids, subscribe),
  // DataPacket_Kind.RELIABLE is 0.
  send_data: (client, { room, data, destinationIdentities, topic }) =>
    client.sendData(room, bytes(data), 0, { destinationIdentities, topic }),
};

function plain(message) {
  if (Array.isArray(message)) return message.map(plain);
  return message?.toJson?.() ?? message ?? {};
}

/// npm livekit-server-sdk.
export function nodeRooms(url) {
  return {
    rpc: async (method, request, { key = KEY, secret = SECRET } = {}) =>
      plain(await CALLS[method](new RoomServiceClient(url, key, secret), request)),
    close: async () => {},
  };
}

/// PyPI livekit-api.
export function pythonRooms(url) {
  const python = startPython('rooms.py');
  return {
    rpc: (method, request, { key = KEY, secret = SECRET } = {}) =>
      python.call('rpc', url, key, secret, method, request),
    close: () => python.close(),
  };
}
