// The number of submissions that the device has done. Every submission ends with
// this dispatch.

@group(0) @binding(0) var<storage, read_write> done: array<u32>; // 1

// Grid: one invocation.
@compute @workgroup_size(1)
fn main() {
    done[0] += 1u;
}
