//! What do files hold whose formats others have defined?
//!
//! Bytes become plain values. Nothing here knows images or weights. A reader
//! needs no more memory than a small multiple of its input, whatever the input
//! claims.

pub(crate) mod events;
pub(crate) mod mat;
pub(crate) mod npy;
pub(crate) mod pickle;
pub(crate) mod protobuf;
pub(crate) mod source;
pub(crate) mod zip;
