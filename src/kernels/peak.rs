//! Which dispatches measure the peak rates of a device: multiply-adds and bytes
//! per second?
//!
//! No driver reports which number of chains, vector width and workgroup size
//! is fastest. So both measurements are taken in several shapes, and the best
//! result counts.

use super::call::{Call, Operand, Target};
use super::value::Value;

/// Multiply-adds in the loop body of an invocation, over all its chains: as
/// much straight-line code as every compiler accepts.
const BODY: usize = 64;

/// One shape of the measurement of multiply-adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MultiplyAddShape {
    /// On `vec4f` instead of `f32`.
    pub vec4: bool,
    /// Independent accumulators of one invocation.
    pub chains: usize,
    /// By WGSL's `fma` instead of a product and a sum.
    pub fused: bool,
    /// Invocations of a workgroup.
    pub workgroup_size: usize,
}

impl MultiplyAddShape {
    /// The shapes that may be fastest.
    pub fn all() -> Vec<Self> {
        let mut shapes = Vec::new();
        for (vec4, chains) in [(false, 8), (false, 16), (true, 2), (true, 4), (true, 8)] {
            for fused in [true, false] {
                for workgroup_size in [64, 256] {
                    shapes.push(MultiplyAddShape {
                        vec4,
                        chains,
                        fused,
                        workgroup_size,
                    });
                }
            }
        }
        shapes
    }

    /// The dispatch on `target`. Input 0 holds at least 32 bytes of numbers
    /// within [-1, 1].
    pub fn call(&self, target: &Target) -> Call {
        // A few milliseconds of work, in enough invocations for all cores.
        let (invocations, macs) = if target.cpu {
            (1_usize << 12, 1_usize << 28)
        } else {
            (1 << 19, 1 << 35)
        };
        let (element, bytes) = element(self.vec4);
        let width = bytes / 4;
        let rounds = macs / (invocations * width * BODY);
        let constants = vec![
            ("V", element),
            ("CHAINS", self.chains.into()),
            ("UNROLLED", (BODY / self.chains).into()),
            ("ROUNDS", rounds.into()),
            ("FUSED", self.fused.into()),
            ("WG", self.workgroup_size.into()),
        ];
        let mut call = Call::new("peak", "multiply_adds", constants)
            .bind(0, Operand::Input(0), 2 * bytes as u64)
            .bind(1, Operand::Output, (invocations * bytes) as u64)
            .over(invocations, self.workgroup_size, target);
        call.macs = (rounds * BODY * width * invocations) as u64;
        call
    }
}

/// One shape of the measurement of bytes: a copy, or a sum of two arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamShape {
    /// Reads two arrays and writes one, instead of one.
    pub triad: bool,
    /// On `vec4f` instead of `f32`.
    pub vec4: bool,
    /// Elements of one invocation.
    pub items: usize,
    /// Invocations of a workgroup.
    pub workgroup_size: usize,
    /// Bytes of each array.
    pub bytes: u64,
}

impl StreamShape {
    /// Bytes of arrays that fit into a large cache.
    const SMALL: u64 = 8 << 20;
    /// Bytes of arrays that do not.
    const LARGE: u64 = 128 << 20;

    /// The shapes that may be fastest.
    pub fn all(target: &Target) -> Vec<Self> {
        let shape = |bytes: u64, items, workgroup_size| StreamShape {
            triad: false,
            vec4: true,
            items,
            workgroup_size,
            bytes: bytes.min(target.binding / 16 * 16),
        };
        let mut shapes = Vec::new();
        for bytes in [Self::SMALL, Self::LARGE] {
            for items in [1, 8] {
                shapes.extend([64, 256].map(|size| shape(bytes, items, size)));
                shapes.push(StreamShape {
                    triad: true,
                    ..shape(bytes, items, 64)
                });
            }
        }
        // Without vectors, for devices where they gain nothing.
        shapes.extend([64, 256].map(|size| StreamShape {
            vec4: false,
            ..shape(Self::SMALL, 4, size)
        }));
        shapes
    }

    /// Whether its arrays are too large for a cache.
    pub fn exceeds_caches(&self) -> bool {
        self.bytes > Self::SMALL
    }

    /// The dispatch on `target`. It reads input 0, or inputs 0 and 1.
    pub fn call(&self, target: &Target) -> Call {
        let (element, bytes) = element(self.vec4);
        let constants = vec![
            ("V", element),
            ("ITEMS", self.items.into()),
            ("WG", self.workgroup_size.into()),
        ];
        let elements = self.bytes as usize / bytes;
        let call = Call::new("peak", if self.triad { "triad" } else { "copy" }, constants)
            .bind(0, Operand::Input(0), self.bytes)
            .bind(1, Operand::Output, self.bytes)
            .over(elements, self.workgroup_size * self.items, target);
        if self.triad {
            call.bind(2, Operand::Input(1), self.bytes)
        } else {
            call
        }
    }
}

/// The shader's element type `V` and its bytes.
fn element(vec4: bool) -> (Value, usize) {
    if vec4 {
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
            for shape in MultiplyAddShape::all() {
                assert_eq!(shape.call(&target).macs, if cpu { 1 << 28 } else { 1 << 35 });
            }
            for shape in StreamShape::all(&target) {
                let call = shape.call(&target);
                let groups = u64::from(call.workgroups[0]) * u64::from(call.workgroups[1]);
                let (_, element) = element(shape.vec4);
                let elements = groups * (shape.workgroup_size * shape.items) as u64;
                assert!(elements * element as u64 >= shape.bytes, "{shape:?}");
                assert_eq!(call.bytes(), (2 + u64::from(shape.triad)) * shape.bytes);
            }
        }
    }
}
