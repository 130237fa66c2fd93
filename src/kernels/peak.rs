//! Which dispatches show what a device can do at best?
//!
//! No driver says how many chains, which width and which workgroup it likes,
//! so there are several shapes of both measurements; the best one counts.

use super::call::{Call, Operand, Target};
use super::source::Value;

/// Multiply-adds of a chain's step, taken over all chains of an invocation:
/// as much straight-line code as every compiler takes.
const BODY: usize = 64;

/// One way to ask for multiply-adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MultiplyAddShape {
    /// By fours (`vec4f`) instead of one by one.
    pub fours: bool,
    /// Independent sums of one invocation.
    pub chains: usize,
    /// By WGSL's `fma` instead of a product and a sum.
    pub fused: bool,
    /// Invocations of a workgroup.
    pub workgroup: usize,
}

impl MultiplyAddShape {
    /// The shapes worth trying.
    pub fn candidates() -> Vec<Self> {
        let mut shapes = Vec::new();
        for (fours, chains) in [(false, 8), (false, 16), (true, 2), (true, 4), (true, 8)] {
            for fused in [true, false] {
                for workgroup in [64, 256] {
                    shapes.push(MultiplyAddShape {
                        fours,
                        chains,
                        fused,
                        workgroup,
                    });
                }
            }
        }
        shapes
    }

    /// The dispatch on `target`. Input 0 holds at least 32 bytes of numbers
    /// within [-1, 1].
    pub fn call(&self, target: &Target) -> Call {
        // A few milliseconds of work, on enough invocations for all cores.
        let (invocations, macs) = if target.cpu {
            (1_usize << 12, 1_usize << 28)
        } else {
            (1 << 19, 1 << 35)
        };
        let (element, bytes) = element(self.fours);
        let width = bytes / 4;
        let rounds = macs / (invocations * width * BODY);
        let constants = vec![
            ("V", element),
            ("CHAINS", self.chains.into()),
            ("UNROLLED", (BODY / self.chains).into()),
            ("ROUNDS", rounds.into()),
            ("FUSED", self.fused.into()),
            ("WG", self.workgroup.into()),
        ];
        let mut call = Call::new("peak", "multiply_adds", constants)
            .bind(0, Operand::Input(0), 2 * bytes as u64)
            .bind(1, Operand::Output, (invocations * bytes) as u64)
            .over(invocations, self.workgroup, target);
        call.macs = (rounds * BODY * width * invocations) as u64;
        call
    }
}

/// One way to ask for bytes: a copy, or a sum of two arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamShape {
    /// Two arrays into one, instead of one into one.
    pub triad: bool,
    /// By fours (`vec4f`) instead of one by one.
    pub fours: bool,
    /// Elements of one invocation.
    pub items: usize,
    /// Invocations of a workgroup.
    pub workgroup: usize,
    /// Bytes of each array.
    pub bytes: u64,
}

impl StreamShape {
    /// Bytes of arrays that a large cache may hold …
    const SMALL: u64 = 8 << 20;
    /// … and of arrays that come from memory.
    const LARGE: u64 = 128 << 20;

    /// The shapes worth trying.
    pub fn candidates(target: &Target) -> Vec<Self> {
        let shape = |bytes: u64, items, workgroup| StreamShape {
            triad: false,
            fours: true,
            items,
            workgroup,
            bytes: bytes.min(target.binding / 16 * 16),
        };
        let mut shapes = Vec::new();
        for bytes in [Self::SMALL, Self::LARGE] {
            for items in [1, 8] {
                shapes.extend([64, 256].map(|workgroup| shape(bytes, items, workgroup)));
                shapes.push(StreamShape {
                    triad: true,
                    ..shape(bytes, items, 64)
                });
            }
        }
        // One by one, where fours gain nothing.
        shapes.extend([64, 256].map(|workgroup| StreamShape {
            fours: false,
            ..shape(Self::SMALL, 4, workgroup)
        }));
        shapes
    }

    /// Whether its arrays are too large for a cache.
    pub fn is_of_memory(&self) -> bool {
        self.bytes > Self::SMALL
    }

    /// The dispatch on `target`: input 0, or inputs 0 and 1, to the output.
    pub fn call(&self, target: &Target) -> Call {
        let (element, bytes) = element(self.fours);
        let constants = vec![
            ("V", element),
            ("ITEMS", self.items.into()),
            ("WG", self.workgroup.into()),
        ];
        let elements = self.bytes as usize / bytes;
        let call = Call::new("peak", if self.triad { "triad" } else { "copy" }, constants)
            .bind(0, Operand::Input(0), self.bytes)
            .bind(1, Operand::Output, self.bytes)
            .over(elements, self.workgroup * self.items, target);
        if self.triad {
            call.bind(2, Operand::Input(1), self.bytes)
        } else {
            call
        }
    }
}

/// The shader's `V` and its bytes.
fn element(fours: bool) -> (Value, usize) {
    if fours {
        (Value::Type("vec4f"), 16)
    } else {
        (Value::Type("f32"), 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shapes_do_the_same_work() {
        for cpu in [true, false] {
            let target = Target::portable(cpu);
            for shape in MultiplyAddShape::candidates() {
                assert_eq!(shape.call(&target).macs, if cpu { 1 << 28 } else { 1 << 35 });
            }
            for shape in StreamShape::candidates(&target) {
                let call = shape.call(&target);
                let groups = u64::from(call.workgroups[0]) * u64::from(call.workgroups[1]);
                let (_, element) = element(shape.fours);
                let elements = groups * (shape.workgroup * shape.items) as u64;
                assert!(elements * element as u64 >= shape.bytes, "{shape:?}");
                assert_eq!(call.bytes(), (2 + u64::from(shape.triad)) * shape.bytes);
            }
        }
    }
}
