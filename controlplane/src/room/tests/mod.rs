//! Rooms driven through their mailbox, with a fake data plane.
