//! Tests that time something: a binary of its own, so that no other test runs
//! beside them.

#[path = "../support/mod.rs"]
mod support;

mod depth;
