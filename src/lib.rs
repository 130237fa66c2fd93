//! Residua trains residual networks on any GPU with its own compute shaders,
//! and studies them: which blocks matter, which paths carry the gradient, what
//! stochastic depth changes.
//!
//! Shaders are WGSL and run by [wgpu](https://docs.rs/wgpu) on Vulkan, Metal
//! and DX12. Where there is no GPU, Mesa's software driver or the CPU
//! reference ([`Adapter::Reference`](train::Adapter::Reference), 64-bit, slow,
//! without any driver) computes the same.
//!
//! # Train a network
//!
//! [`Settings`](train::Settings) say what to train and how, a
//! [`Trainer`](train::Trainer) loads the images and opens the network on an
//! adapter, and a [`RunDirectory`](train::RunDirectory) receives the weights,
//! the tables and the learning curves.
//!
//! ```
//! use std::path::Path;
//!
//! use residua::train::{Adapter, Event, RunDirectory, Settings, Trainer, batch_size};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir().unwrap();
//! # std::env::set_current_dir(folder.path()).unwrap();
//! let settings = Settings {
//!     model: "resnet8".parse()?,
//!     data: "synthetic:16,8".parse()?, // 16 training and 8 test images; or "cifar10:FOLDER"
//!     epochs: 1,
//!     batch_size: batch_size(8)?,
//!     ..Settings::default()
//! };
//! // `Adapter::default()` is the best GPU.
//! let mut trainer = Trainer::open(settings, &Adapter::Reference)?;
//! let directory = RunDirectory::create(Path::new("runs/first"))?;
//! let mut run = trainer.start(&directory)?;
//! run.train(|event| {
//!     if let Event::Epoch(row) = event {
//!         println!("epoch {}: test error {:.1} %", row.epoch, 100.0 * row.test_error);
//!     }
//! })?;
//! assert!(directory.best().exists());
//! # Ok(())
//! # }
//! ```
//!
//! # Delete its blocks
//!
//! [`TrainedNetworkOptions`](train::TrainedNetworkOptions) opens a run, or
//! weights from elsewhere (safetensors or PyTorch's `.pth`), and a
//! [`LesionStudy`](studies::LesionStudy) measures the network without each of
//! its blocks, as Veit et al. 2016 (arXiv:1605.06431) did.
//!
//! ```
//! use residua::studies::LesionStudy;
//! use residua::train::{Adapter, TrainedNetworkOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use residua::train::{RunDirectory, Settings, Trainer};
//! # let folder = tempfile::tempdir().unwrap();
//! # std::env::set_current_dir(folder.path()).unwrap();
//! # let (model, data) = ("resnet8".parse()?, "synthetic:8,8".parse()?);
//! # let settings = Settings { model, data, epochs: 1, ..Settings::default() };
//! # let directory = RunDirectory::create(std::path::Path::new("runs/first"))?;
//! # Trainer::open(settings, &Adapter::Reference)?.start(&directory)?.train(|_| {})?;
//! let mut network = TrainedNetworkOptions::from_run("runs/first")
//!     .adapter(Adapter::Reference)
//!     .open()?;
//! let findings = LesionStudy::default().run(&mut network, &mut |_progress| {})?;
//! println!("whole network: error {:.1} %", 100.0 * findings.whole.error);
//! for lesion in &findings.lesions {
//!     println!(
//!         "without block {} ({}): error {:.1} %",
//!         lesion.blocks[0],
//!         lesion.names[0],
//!         100.0 * lesion.evaluation.error
//!     );
//! }
//! assert_eq!(findings.lesions.len(), 3);
//! # Ok(())
//! # }
//! ```
//!
//! # Train a network of your own
//!
//! Implement [`Architecture`](models::Architecture): a name, and a function
//! that adds the layers to a [`Graph`](graph::Graph). Training, checkpoints,
//! evaluation and studies treat it as a built-in network. The example
//! `custom_network` is complete; `train`, `lesion` and `logits` are shorter.
//!
//! # Modules
//!
//! From the top; a module uses those below it only.
//!
//! | module | question |
//! |---|---|
//! | [`studies`] | What do the parts of a trained network contribute? Lesions, paths, stochastic depth, sweeps over settings |
//! | [`doctor`] | Do an adapter and its driver work? Every kernel against the reference |
//! | [`train`] | How is a network trained and evaluated? The loop, learning rates, checkpoints, trained networks |
//! | [`models`] | Which network is it? Names such as `wrn-28-10`, and networks of your own |
//! | [`data`] | Which images, in which order, how augmented? CIFAR and a built-in set |
//! | [`weights`] | How are weights stored? safetensors, `.pth`, the naming dialects of other programs |
//! | [`report`] | How are results shown? Tables and figures as HTML, Markdown, SVG, PNG, CSV |
//! | [`tuning`] | Which kernel is the fastest for this work on this device? |
//! | [`schedule`] | How does a graph become GPU work? Fusion, memory plan, passes under a route |
//! | [`kernels`] | Which shader computes an operation, with which sizes? |
//! | [`mod@reference`] | What is the right result? Every operation in 64 bits on the CPU |
//! | [`graph`] | What is a network? Operations, shapes, residual blocks, gradients, routes |
//! | [`gpu`] | What can the device do? Adapters, buffers, pipelines: the only user of wgpu |
//! | [`files`], [`random`] | How is a file written completely or not at all, and read within bounds? Where do random numbers come from? |
//! | [`stop`] | How is a run asked to stop from outside? |
//!
//! # Cargo features
//!
//! All are on by default. A library user can switch them off by
//! `default-features = false`.
//!
//! * `cli`: the programs `residua` and `tools` (clap, indicatif).
//! * `images`: data sets that are folders of PNG and JPEG files (image).
//! * `parquet`: data sets that are parquet files (parquet).
//! * `png`: reports write their figures as PNG, too (resvg, fonts).
#![deny(missing_docs)]

#[doc(hidden)]
pub mod bench;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod data;
pub mod doctor;
pub mod drawing;
#[cfg(feature = "fetch")]
pub mod fetch;
pub mod files;
pub(crate) mod formats;
pub mod gpu;
pub mod graph;
pub(crate) mod hex;
pub mod kernels;
pub mod models;
pub mod onnx;
pub mod random;
pub mod reference;
pub mod report;
pub mod schedule;
pub(crate) mod shown;
pub mod stop;
pub mod studies;
pub mod train;
pub mod tuning;
pub mod weights;
