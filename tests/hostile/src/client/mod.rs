//! A participant over real sockets, built from the project's own protocol code, without a thread of
//! its own: whoever holds it moves it. The attacks need what no ordinary client shows: its keys, its
//! socket, its packets before they leave.

pub(crate) mod acks;
pub(crate) mod media;
pub(crate) mod sdp;
pub(crate) mod session;
pub(crate) mod signal;
