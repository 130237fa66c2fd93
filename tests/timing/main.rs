//! Tests that time something: a binary of its own, so that no other test runs
//! at the same time.

#[path = "../support/mod.rs"]
mod support;

mod depth;
