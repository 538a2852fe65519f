//! Signaling, tokens, rooms, SDP and the server API. It never sees a media packet.
#![forbid(unsafe_code)]

pub mod auth;
pub mod config;
pub mod dataplane_client;
pub mod http;
pub mod negotiate;
pub mod participant;
pub mod room;
