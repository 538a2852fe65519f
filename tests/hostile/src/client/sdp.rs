//! The little of session descriptions that the suite's own participants need.

use millrace_shared::dtls::Identity;
use millrace_shared::link::IceCredentials;

use super::media::{RTX_PT, RTX_SSRC, SSRC, VIDEO_PT};
use crate::outcome::{Outcome, Said as _};

/// The line that names a certificate.
pub(crate) fn fingerprint_line(identity: &Identity) -> String {
    let hex: Vec<String> = identity
        .fingerprint()
        .0
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    format!("a=fingerprint:sha-256 {}\r\n", hex.join(":"))
}

/// A publisher's offer: one video with RTX, and data channels.
pub(crate) fn offer(ice: &IceCredentials, fingerprint: &str, cid: &str) -> String {
    let transport = format!(
        "c=IN IP4 0.0.0.0\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n{fingerprint}a=setup:actpass\r\n",
        ice.ufrag, ice.pwd
    );
    let (pt, rtx, ssrc, rtx_ssrc) = (VIDEO_PT.0, RTX_PT.0, SSRC.0, RTX_SSRC.0);
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF {pt} {rtx}\r\n{transport}a=mid:0\r\na=sendonly\r\n\
         a=msid:stream {cid}\r\na=rtcp-mux\r\na=rtpmap:{pt} VP8/90000\r\na=rtcp-fb:{pt} nack\r\n\
         a=rtcp-fb:{pt} nack pli\r\na=rtcp-fb:{pt} ccm fir\r\na=rtpmap:{rtx} rtx/90000\r\n\
         a=fmtp:{rtx} apt={pt}\r\na=ssrc-group:FID {ssrc} {rtx_ssrc}\r\na=ssrc:{ssrc} cname:x\r\n\
         a=ssrc:{rtx_ssrc} cname:x\r\n\
         m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n{transport}a=mid:1\r\n\
         a=sctp-port:5000\r\na=max-message-size:65535\r\n"
    )
}

/// Takes an offer as it is, turned round.
pub(crate) fn answer(offer: &str, ice: &IceCredentials, fingerprint: &str) -> String {
    const DROPPED: [&str; 10] = [
        "a=candidate",
        "a=end-of",
        "a=ssrc",
        "a=msid",
        "a=ice-",
        "a=fingerprint",
        "a=setup",
        "a=sendonly",
        "a=sendrecv",
        "a=extmap",
    ];
    let mut text = String::new();
    for line in offer.lines().map(str::trim_end) {
        if DROPPED.iter().any(|prefix| line.starts_with(prefix)) {
            continue;
        }
        text += line;
        text += "\r\n";
        // RFC 8866 §5: of an m-line's part, c= comes before the attributes.
        if line.starts_with("c=") {
            text += &format!(
                "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n{fingerprint}a=setup:active\r\na=recvonly\r\n",
                ice.ufrag, ice.pwd
            );
        }
    }
    text
}

/// The server's credentials.
pub(crate) fn credentials(sdp: &str) -> Outcome<IceCredentials> {
    let value = |name: &str| {
        sdp.lines()
            .find_map(|line| line.trim_end().strip_prefix(name))
            .map(str::to_owned)
            .said(name)
    };
    Ok(IceCredentials {
        ufrag: value("a=ice-ufrag:")?,
        pwd: value("a=ice-pwd:")?,
    })
}
