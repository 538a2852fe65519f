//! Descriptors of the messages of the server API.
//!
//! LiveKit's API answers JSON with the field names of the schema and with every field present, which
//! code generated for the usual JSON mapping cannot do. Reflection can, given the schema. It is
//! compiled into `livekit.binpb` from the `.proto` files that the crate livekit-protocol carries; the
//! test below compiles it anew and compares, or writes it when `UPDATE_DESCRIPTOR` is set.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, MethodDescriptor};

static POOL: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(include_bytes!("livekit.binpb").as_slice()).ok());

/// A method by the full name of its service and its own, as a request's path has them.
pub(super) fn method(service: &str, method: &str) -> Option<MethodDescriptor> {
    POOL.as_ref()?
        .get_service_by_name(service)?
        .methods()
        .find(|each| each.name() == method)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    /// Where cargo keeps the `.proto` files.
    fn protobufs() -> PathBuf {
        // Only this platform's packages are sure to be there without a network.
        let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--offline"])
            .args(["--filter-platform", &platform])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let package = metadata["packages"]
            .as_array()
            .unwrap()
            .iter()
            .find(|package| package["name"] == "livekit-protocol")
            .unwrap();
        let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
        manifest.parent().unwrap().join("protocol/protobufs")
    }

    #[test]
    fn the_descriptor_set_is_that_of_the_crate() {
        let mut compiler = protox::Compiler::new([protobufs()]).unwrap();
        compiler.include_imports(true).include_source_info(false);
        for file in ["room", "agent_dispatch", "egress", "ingress", "sip"] {
            compiler.open_file(format!("livekit_{file}.proto")).unwrap();
        }
        let compiled = compiler.encode_file_descriptor_set();
        if std::env::var_os("UPDATE_DESCRIPTOR").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/twirp/livekit.binpb");
            std::fs::write(path, &compiled).unwrap();
        }
        assert!(
            compiled == include_bytes!("livekit.binpb"),
            "run again with UPDATE_DESCRIPTOR=1"
        );
    }

    #[test]
    fn methods_are_found_with_their_messages() {
        let list = method("livekit.RoomService", "ListRooms").unwrap();
        assert_eq!(list.input().full_name(), "livekit.ListRoomsRequest");
        assert_eq!(list.output().full_name(), "livekit.ListRoomsResponse");
        assert!(method("livekit.SIP", "CreateSIPParticipant").is_some());
        assert!(method("livekit.RoomService", "Nothing").is_none());
        assert!(method("livekit.Nothing", "ListRooms").is_none());
    }
}
