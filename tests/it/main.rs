//! All integration tests but those that time something: one binary, so that
//! the library and its dependencies are linked once.

#[path = "../support/mod.rs"]
mod support;

mod bench;
mod budget;
mod cases;
mod cli;
mod continuing;
mod data;
mod device_loss;
mod doctor;
mod drawing;
mod engines;
mod ensemble;
mod eval;
mod explain;
mod families;
mod fetch;
mod finite;
mod foreign;
mod json;
mod kernels;
mod knobs;
mod lesions;
mod memory;
mod network_file;
mod onnx;
mod own_network;
mod owners;
mod parity;
mod paths;
mod points;
mod precision;
mod proof;
mod recompute;
mod record;
mod reference_parity;
mod report;
mod resume;
mod robustness;
mod shaders;
mod shards;
mod signals;
mod splitting;
mod studies;
mod sweep;
mod tensorboard;
mod training;
mod tuning;
mod validation;
