//! What happens when a driver fails? A test lets a device fail in one of the ways
//! in which drivers do.

use std::sync::atomic::Ordering;

use super::Gpu;

/// What is wrong with the kernels of one shader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelFault {
    /// One part of its text is another one: it computes something else.
    Altered {
        /// The part.
        from: &'static str,
        /// What stands in its place.
        to: &'static str,
    },
    /// Compiling it never ends.
    Hangs,
    /// Compiling it ends the process.
    Crashes,
}

/// The programs whose labels contain `label`, and what is wrong with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokenKernels {
    /// A part of the label: `conv/direct`, `pointwise/relu`.
    pub label: &'static str,
    /// What is wrong.
    pub fault: KernelFault,
}

impl BrokenKernels {
    /// The text of a program with the label `label`, as the driver gets it. Does not
    /// return where compiling never ends.
    pub(super) fn source(&self, label: &str, source: &str) -> Option<String> {
        if !label.contains(self.label) {
            return None;
        }
        match self.fault {
            KernelFault::Altered { from, to } => Some(source.replace(from, to)),
            KernelFault::Hangs => loop {
                std::thread::park();
            },
            KernelFault::Crashes => std::process::abort(),
        }
    }
}

impl Gpu {
    /// Loses the device, where a test asked for it after `given` submissions.
    pub(super) fn lose_after(&self, given: u32) {
        let (_, overrides) = &self.opened_as;
        if overrides.lose_after.is_some_and(|most| given >= most) {
            self.lost_by_test.store(true, Ordering::Relaxed);
            self.device.destroy();
        }
    }

    /// Panics as wgpu does while it waits for a device that is lost, where a test lost
    /// it.
    pub(super) fn panic_where_lost(&self) {
        if self.lost_by_test.load(Ordering::Relaxed) {
            panic!("Error in Device::poll: Parent device is lost, as a test asked for");
        }
    }
}

/// What `RESIDUA_TEST_DEVICE` asks for, such as `lose-after=40`, `memory=1000000`,
/// `alter=pointwise/relu|max|min`, `hang=conv/direct` or `crash=conv/direct`: how
/// a test lets the devices of a program fail. `kind=discrete` treats an adapter for
/// which nothing else is asked as a GPU, whose kernels a processor's driver compiles
/// in a fraction of the time. Only builds with debug assertions heed it.
#[cfg(debug_assertions)]
pub(super) fn asked_for(mut overrides: super::AdapterOverrides) -> super::AdapterOverrides {
    let Ok(text) = std::env::var("RESIDUA_TEST_DEVICE") else {
        return overrides;
    };
    for (name, value) in text.split(';').filter_map(|part| part.split_once('=')) {
        // The text lives as long as the device: a few bytes for each device of a test.
        let value: &'static str = String::leak(value.to_string());
        let words: Vec<&'static str> = value.split('|').collect();
        let broken = |fault| words.first().map(|&label| BrokenKernels { label, fault });
        match (name, &words[..]) {
            ("lose-after", _) => overrides.lose_after = value.parse().ok(),
            ("kind", ["discrete"]) => overrides.kind = overrides.kind.or(Some(super::AdapterKind::Discrete)),
            ("memory", _) => overrides.memory = value.parse().ok(),
            ("alter", &[_, from, to]) => overrides.broken = broken(KernelFault::Altered { from, to }),
            ("hang", _) => overrides.broken = broken(KernelFault::Hangs),
            ("crash", _) => overrides.broken = broken(KernelFault::Crashes),
            _ => {}
        }
    }
    overrides
}

/// `overrides` as they are: nothing is injected.
#[cfg(not(debug_assertions))]
pub(super) fn asked_for(overrides: super::AdapterOverrides) -> super::AdapterOverrides {
    overrides
}
