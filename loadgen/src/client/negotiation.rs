//! Descriptions and candidates that a client and its server exchange.

use livekit_protocol as proto;
use proto::signal_request;

use super::connection::Connection;
use super::publish::{Publication, receiving};
use super::session::Client;
use super::{ClientError, ClientSpec};
use crate::pump::Command;
use crate::sdp::{self, Description, Line, SectionKind};

/// Sections for each kind of medium that a client with a single connection offers from the
/// beginning, as LiveKit's do; the server asks for more.
const RECEIVING_SECTIONS: u32 = 3;
/// More than any room has, so that a server cannot make a client swell.
const SECTIONS_MAX: u32 = 1024;
/// Candidates that wait for their connection; a server has a handful.
const EARLY_MAX: usize = 64;

/// How far our offers have come.
#[derive(Debug, Default)]
pub(super) struct Offers {
    sent: u32,
    answered: u32,
    /// The sections have changed since the last one.
    stale: bool,
}

impl Offers {
    pub(super) fn sent(sent: u32) -> Self {
        Self {
            sent,
            ..Self::default()
        }
    }
}

pub(super) fn join_request(
    spec: &ClientSpec,
    publications: &[Publication],
    offer: proto::SessionDescription,
) -> proto::JoinRequest {
    proto::JoinRequest {
        connection_settings: Some(proto::ConnectionSettings {
            auto_subscribe: spec.subscribe,
            ..proto::ConnectionSettings::default()
        }),
        add_track_requests: publications.iter().map(Publication::request).collect(),
        publisher_offer: Some(offer),
        ..proto::JoinRequest::default()
    }
}

fn receiving_lines(audios: u32, videos: u32) -> impl Iterator<Item = Line> {
    let audios = (0..audios.min(SECTIONS_MAX)).map(|_| receiving(SectionKind::Audio));
    audios.chain((0..videos.min(SECTIONS_MAX)).map(|_| receiving(SectionKind::Video)))
}

/// Sections of the first offer: what we publish, a channel for data, and of a client with a single
/// connection what it may receive.
pub(super) fn first_lines(publications: &[Publication], receives: bool) -> Vec<Line> {
    let sends = publications.iter().map(|it| Line::Send(it.offered()));
    let mut lines: Vec<_> = sends.chain([Line::Data]).collect();
    if receives {
        lines.extend(receiving_lines(RECEIVING_SECTIONS, RECEIVING_SECTIONS));
    }
    lines
}

impl Client {
    pub(super) async fn request_tracks(&mut self) -> Result<(), ClientError> {
        for publication in &self.publications {
            let request = signal_request::Message::AddTrack(publication.request());
            self.signal.send(request).await?;
        }
        Ok(())
    }

    /// The server wants to send more tracks than our offer has room for.
    pub(super) async fn add_sections(
        &mut self,
        more: &proto::MediaSectionsRequirement,
    ) -> Result<(), ClientError> {
        let room = (SECTIONS_MAX as usize).saturating_sub(self.lines.len());
        let more = receiving_lines(more.num_audios, more.num_videos);
        self.lines.extend(more.take(room));
        self.offers.stale = true;
        self.offer_again().await
    }

    pub(super) async fn answer(
        &mut self,
        offer: &proto::SessionDescription,
    ) -> Result<(), ClientError> {
        let mut description = Description::parse(&offer.sdp)?;
        self.redirect(&mut description);
        let mut connection = match self.subscriber.take() {
            Some(connection) => connection,
            None => Connection::open(&self.pump, &self.spec, &self.events_tx)?,
        };
        let local = connection.local(self.fingerprint);
        let sdp = sdp::answer(&local, &description);
        self.pump.send(Command::Remote {
            peer: connection.peer,
            description: Box::new(description),
            offered: false,
        });
        self.subscriber = Some(connection);
        self.take_early(proto::SignalTarget::Subscriber);
        let answer = proto::SessionDescription {
            r#type: "answer".to_owned(),
            sdp,
            id: offer.id,
            ..proto::SessionDescription::default()
        };
        Ok(self
            .signal
            .send(signal_request::Message::Answer(answer))
            .await?)
    }

    pub(super) async fn offer_when_registered(&mut self) -> Result<(), ClientError> {
        let registered = self.publications.iter().all(|it| it.registered);
        if !registered || self.publisher.is_some() {
            return Ok(());
        }
        self.publisher = Some(Connection::open(&self.pump, &self.spec, &self.events_tx)?);
        self.offers.stale = true;
        self.offer_again().await
    }

    /// Sends an offer if one is due and none is under way.
    async fn offer_again(&mut self) -> Result<(), ClientError> {
        let Some(connection) = &mut self.publisher else {
            return Ok(());
        };
        if !self.offers.stale || self.offers.sent > self.offers.answered {
            return Ok(());
        }
        self.offers.stale = false;
        self.offers.sent += 1;
        let offer = connection.offer(self.fingerprint, &self.lines, self.offers.sent);
        Ok(self
            .signal
            .send(signal_request::Message::Offer(offer))
            .await?)
    }

    pub(super) async fn take_answer(
        &mut self,
        answer: &proto::SessionDescription,
    ) -> Result<(), ClientError> {
        let mut description = Description::parse(&answer.sdp)?;
        self.redirect(&mut description);
        let Some(connection) = &self.publisher else {
            return Ok(());
        };
        let peer = connection.peer;
        let mut tracks = Vec::new();
        if self.offers.answered == 0 {
            for (index, publication) in self.publications.iter().enumerate() {
                let track = publication.published(index, &description);
                tracks.push(track.ok_or_else(|| ClientError::Refused(publication.cid.clone()))?);
            }
        }
        self.offers.answered = self.offers.sent;
        self.pump.send(Command::Remote {
            peer,
            description: Box::new(description),
            offered: true,
        });
        if !tracks.is_empty() {
            self.pump.send(Command::Publish { peer, tracks });
        }
        self.take_early(proto::SignalTarget::Publisher);
        self.offer_again().await
    }

    pub(super) fn trickle(&mut self, trickle: &proto::TrickleRequest) {
        if self.server.media_address.is_some() {
            return;
        }
        if let Some(addr) = super::trickled(trickle)
            && self.early.len() < EARLY_MAX
        {
            self.early.push((trickle.target(), addr));
            self.take_early(trickle.target());
        }
    }

    /// Hands on the candidates of a side whose connection is there.
    fn take_early(&mut self, target: proto::SignalTarget) {
        let connection = match target {
            proto::SignalTarget::Publisher => &self.publisher,
            proto::SignalTarget::Subscriber => &self.subscriber,
        };
        let Some(peer) = connection.as_ref().map(|it| it.peer) else {
            return;
        };
        let pump = &self.pump;
        self.early.retain(|(side, addr)| {
            if *side == target {
                pump.send(Command::Candidate { peer, addr: *addr });
            }
            *side != target
        });
    }

    fn redirect(&self, description: &mut Description) {
        if let Some(addr) = self.server.media_address {
            description.candidates = vec![sdp::Candidate { addr, priority: 1 }];
        }
    }
}
