//! The configuration, read strictly and leniently.

use millrace_controlplane::config::{Sources, load};

pub(crate) fn config(bytes: &[u8]) {
    let body = String::from_utf8_lossy(bytes).into_owned();
    // It names a file of this machine, and what that holds is not the input's.
    if body.contains("key_file") {
        return;
    }
    let strict = Sources {
        name: "config.yaml".into(),
        body,
        keys: Some("key: a secret that is longer than it would have to be".into()),
        ..Sources::default()
    };
    let lenient = Sources {
        lenient: true,
        ..strict.clone()
    };
    let read = load(&strict);
    match load(&lenient) {
        Ok(loaded) => {
            assert!(!loaded.config.keys.is_empty());
            let ports = loaded.config.udp_ports();
            assert!(ports.port_of(0).is_some(), "no port to receive on");
        }
        // What is refused leniently is refused strictly.
        Err(error) => {
            assert!(read.is_err(), "{error}");
            assert!(!error.to_string().is_empty());
        }
    }
}
