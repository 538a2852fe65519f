//! Rooms driven through their public interface, with a fake data plane and virtual time.

mod api;
mod harness;
mod join;
mod media;
mod memos;
mod permissions;
mod publish;
mod restore;
mod resume;
mod single;
mod timeouts;
