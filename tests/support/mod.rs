//! What several tests share: devices, f64 references, PyTorch's fixtures, programs
//! run as a user runs them, and a browser.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod browser;
pub mod conv;
pub mod device;
pub mod events;
pub mod family;
pub mod fixture;
pub mod metrics;
pub mod npy;
pub mod program;
pub mod python;
pub mod reference_run;
pub mod report;
pub mod run;
pub mod small;
pub mod update;
pub mod variants;
