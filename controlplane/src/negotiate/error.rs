use thiserror::Error;

/// Why a session description cannot be used. All but the last two are the peer's fault.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum SdpError {
    #[error("longer than {} bytes", millrace_shared::limits::SDP_LEN_MAX)]
    TooLong,
    #[error("not SDP: {0}")]
    Syntax(String),
    #[error("more than {} m-lines", millrace_shared::limits::SDP_SECTIONS_MAX)]
    TooManySections,
    #[error("an m-line without a usable a=mid")]
    Mid,
    #[error("two m-lines with the mid {0}")]
    DuplicateMid(String),
    #[error("no a=ice-ufrag and a=ice-pwd of legal length")]
    IceCredentials,
    #[error("no sha-256 a=fingerprint")]
    Fingerprint,
    #[error("a=setup leaves us no way to be the DTLS server")]
    DtlsRole,
    #[error("{answered} m-lines answered, {offered} offered")]
    SectionCount { offered: usize, answered: usize },
    #[error("m-line {index} of the answer is not the one that was offered")]
    SectionMismatch { index: usize },
    #[error("an answer, but no offer waits for one")]
    NoOffer,
    /// API misuse.
    #[error("{plans} plans for {sections} m-lines")]
    PlanCount { sections: usize, plans: usize },
}
