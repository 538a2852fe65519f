use super::{Claims, VideoGrant};

/// What one call of the server API asks of its token.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Permission<'a> {
    RoomCreate,
    RoomList,
    RoomRecord,
    /// Administer this room.
    RoomAdmin(&'a str),
    /// Administer this room and put its participants into another one.
    RoomAdminTo {
        room: &'a str,
        destination: &'a str,
    },
    IngressAdmin,
    SipAdmin,
    SipCall,
}

impl Claims {
    pub fn permits(&self, permission: Permission<'_>) -> bool {
        let video = |check: &dyn Fn(&VideoGrant) -> bool| self.video.as_ref().is_some_and(check);
        match permission {
            Permission::RoomCreate => video(&|grant| grant.room_create),
            Permission::RoomList => video(&|grant| grant.room_list),
            Permission::RoomRecord => video(&|grant| grant.room_record),
            Permission::RoomAdmin(room) => video(&|grant| grant.room_admin && grant.room == room),
            Permission::RoomAdminTo { room, destination } => video(&|grant| {
                grant.room_admin && grant.room == room && grant.destination_room == destination
            }),
            Permission::IngressAdmin => video(&|grant| grant.ingress_admin),
            Permission::SipAdmin => self.sip.as_ref().is_some_and(|grant| grant.admin),
            Permission::SipCall => self.sip.as_ref().is_some_and(|grant| grant.call),
        }
    }
}
