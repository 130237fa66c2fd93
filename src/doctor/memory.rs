//! How much memory does a device give? It is asked until it refuses.

use serde::{Deserialize, Serialize};

use crate::gpu::{Gpu, GpuError};

/// Bytes that are asked for at a time, where a buffer may be so large.
const STEP: u64 = 256 << 20;

/// The memory that a device gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// Bytes in all buffers together.
    pub bytes: u64,
    /// Whether it refused more. Otherwise no more was asked for.
    pub refused: bool,
    /// How the process that asked ended; empty where it came back.
    pub problem: String,
}

fn ended(bytes: u64, refused: bool) -> Ceiling {
    Ceiling {
        bytes,
        refused,
        problem: String::new(),
    }
}

/// Asks `gpu` for buffers until it refuses one, or has given `most` bytes. Nothing
/// is written to them: a driver that promises more than it has is not found out.
pub fn ceiling(gpu: &Gpu, most: u64) -> Ceiling {
    let mut step = STEP.min(gpu.limits().buffer);
    let mut held = Vec::new();
    let mut bytes = 0;
    loop {
        if bytes >= most {
            return ended(bytes, false);
        }
        match gpu.buffer("asking", step.min(most - bytes)) {
            Ok(buffer) => {
                bytes += buffer.size();
                held.push(buffer);
            }
            // Smaller ones may still fit.
            Err(GpuError::OutOfMemory { .. }) if step > 16 << 20 => step /= 2,
            Err(_) => return ended(bytes, true),
        }
    }
}
