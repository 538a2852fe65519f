"""The RoomService through livekit-api. Requests and answers are the protocol's JSON."""

import asyncio

from google.protobuf.json_format import MessageToDict, ParseDict
from livekit import api
from serve import serve

REQUESTS = {
    "create_room": api.CreateRoomRequest,
    "list_rooms": api.ListRoomsRequest,
    "delete_room": api.DeleteRoomRequest,
    "update_room_metadata": api.UpdateRoomMetadataRequest,
    "list_participants": api.ListParticipantsRequest,
    "get_participant": api.RoomParticipantIdentity,
    "remove_participant": api.RoomParticipantIdentity,
    "mute_published_track": api.MuteRoomTrackRequest,
    "update_participant": api.UpdateParticipantRequest,
    "update_subscriptions": api.UpdateSubscriptionsRequest,
    "send_data": api.SendDataRequest,
}


class Rooms:
    async def rpc(self, url: str, key: str, secret: str, method: str, request: dict) -> dict:
        async with api.LiveKitAPI(url, key, secret) as client:
            answer = await getattr(client.room, method)(ParseDict(request, REQUESTS[method]()))
        return MessageToDict(answer)


async def main() -> None:
    await serve(Rooms())


asyncio.run(main())
