//! QUIC endpoints, TLS identity and framed messages on streams.
