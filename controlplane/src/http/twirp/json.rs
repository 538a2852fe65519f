//! JSON as LiveKit's API has it, by reflection on the encoded message.

use prost::Message as _;
use prost_reflect::{
    Cardinality, DeserializeOptions, DynamicMessage, Kind, MessageDescriptor, SerializeOptions,
};
use serde_json::{Map, Value};

/// Encoded message of JSON. Field names may be of either spelling, unknown ones are ignored.
pub(super) fn decode(descriptor: MessageDescriptor, body: &[u8]) -> Option<Vec<u8>> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let message =
        DynamicMessage::deserialize_with_options(descriptor, &mut deserializer, &options).ok()?;
    deserializer.end().ok()?;
    Some(message.encode_to_vec())
}

/// JSON of an encoded message: names as in the schema, nothing left out, 64-bit integers as
/// strings.
pub(super) fn encode(descriptor: MessageDescriptor, body: &[u8]) -> Option<Vec<u8>> {
    let message = DynamicMessage::decode(descriptor.clone(), body).ok()?;
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .skip_default_fields(false)
        .stringify_64_bit_integers(true);
    let mut value = message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .ok()?;
    add_nulls(&descriptor, &mut value);
    serde_json::to_vec(&value).ok()
}

/// Absent messages become null, as Go writes them where it leaves nothing out; members of a oneof
/// stay away.
fn add_nulls(descriptor: &MessageDescriptor, value: &mut Value) {
    // Timestamps and the like have a form of their own.
    if descriptor.package_name() == "google.protobuf" {
        return;
    }
    let Value::Object(members) = value else {
        return;
    };
    for field in descriptor.fields() {
        let Kind::Message(below) = field.kind() else {
            continue;
        };
        if field.is_map() {
            add_nulls_to_map(&below, members.get_mut(field.name()));
        } else if field.cardinality() == Cardinality::Repeated {
            if let Some(Value::Array(items)) = members.get_mut(field.name()) {
                items.iter_mut().for_each(|item| add_nulls(&below, item));
            }
        } else if let Some(member) = members.get_mut(field.name()) {
            add_nulls(&below, member);
        } else if field.containing_oneof().is_none() {
            members.insert(field.name().to_owned(), Value::Null);
        }
    }
}

fn add_nulls_to_map(entry: &MessageDescriptor, map: Option<&mut Value>) {
    let Kind::Message(below) = entry.map_entry_value_field().kind() else {
        return;
    };
    let none = &mut Map::new();
    let values = map.and_then(Value::as_object_mut).unwrap_or(none);
    values
        .values_mut()
        .for_each(|value| add_nulls(&below, value));
}

#[cfg(test)]
mod tests {
    use livekit_protocol as proto;
    use serde_json::json;

    use super::super::descriptor;
    use super::*;

    fn output(method: &str) -> MessageDescriptor {
        descriptor::method("livekit.RoomService", method)
            .unwrap()
            .output()
    }

    #[test]
    fn every_field_is_written_under_the_schemas_name() {
        let rooms = proto::ListRoomsResponse {
            rooms: vec![proto::Room {
                sid: "RM_1".into(),
                creation_time: 1_700_000_000,
                ..proto::Room::default()
            }],
        };
        let json = encode(output("ListRooms"), &rooms.encode_to_vec()).unwrap();
        let value: Value = serde_json::from_slice(&json).unwrap();
        let room = &value["rooms"][0];
        assert_eq!(room["sid"], json!("RM_1"));
        assert_eq!(room["creation_time"], json!("1700000000"));
        assert_eq!(room["num_participants"], json!(0));
        assert_eq!(room["active_recording"], json!(false));
        assert_eq!(room["enabled_codecs"], json!([]));
        assert!(room["version"].is_null() && room.get("version").is_some());
        assert!(room.get("creationTime").is_none());

        let none = encode(output("ListRooms"), &[]).unwrap();
        assert_eq!(none, br#"{"rooms":[]}"#);
    }

    #[test]
    fn enums_maps_and_nested_messages_are_written() {
        let participant = proto::ParticipantInfo {
            state: proto::participant_info::State::Active.into(),
            attributes: [("k".to_owned(), "v".to_owned())].into(),
            tracks: vec![proto::TrackInfo::default()],
            ..proto::ParticipantInfo::default()
        };
        let json = encode(output("GetParticipant"), &participant.encode_to_vec()).unwrap();
        let value: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value["state"], json!("ACTIVE"));
        assert_eq!(value["attributes"], json!({ "k": "v" }));
        assert_eq!(value["tracks"][0]["mime_type"], json!(""));
        assert!(value["permission"].is_null());
    }

    #[test]
    fn both_spellings_are_read_and_unknown_fields_ignored() {
        let input = descriptor::method("livekit.RoomService", "CreateRoom")
            .unwrap()
            .input();
        for body in [
            r#"{"name": "n", "empty_timeout": 7, "nonsense": {"a": [1]}}"#,
            r#"{"name": "n", "emptyTimeout": 7, "metadata": null}"#,
        ] {
            let encoded = decode(input.clone(), body.as_bytes()).unwrap();
            let request = proto::CreateRoomRequest::decode(encoded.as_slice()).unwrap();
            assert_eq!((request.name.as_str(), request.empty_timeout), ("n", 7));
        }
        for body in ["", "[]", "{", "{} {}", r#"{"name": 1}"#, "null"] {
            assert!(decode(input.clone(), body.as_bytes()).is_none(), "{body}");
        }
    }
}
