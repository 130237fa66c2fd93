// What can a device do at best? Multiply-adds that depend only on each other, a
// copy, and a sum of two arrays. No network runs these: they measure the rates
// that its kernels are compared with.

// import flat_index
// import grid

// What an invocation computes at once.
alias V = vec4f;
// Independent sums of one invocation: enough of them hide the latency of a
// multiply-add.
const CHAINS: u32 = 8u;
// Multiply-adds of each chain in a round, and the number of rounds.
const UNROLLED: u32 = 8u;
const ROUNDS: u32 = 64u;
// Whether the multiply-add is written as `fma`.
const FUSED: bool = true;
// Elements that an invocation copies, WG apart.
const ITEMS: u32 = 1u;
const WG: u32 = 64u;

@group(0) @binding(0) var<storage, read> x: array<V>;
@group(0) @binding(1) var<storage, read_write> y: array<V>;
@group(0) @binding(2) var<storage, read> z: array<V>;

// Each chain is s ← a · s + b, with a and b from memory and within [-1, 1]. So a
// compiler cannot move the product out of the loop, the sum stays finite, and no
// chain can be removed, because all of them are written.
// Grid: x, folded into y, over invocations; y holds an element for each.
@compute @workgroup_size(WG)
fn multiply_adds(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                 @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index >= arrayLength(&y)) {
        return;
    }
    let a = x[0];
    let b = x[1];
    var sums: array<V, CHAINS>;
    for (var c = 0u; c < CHAINS; c++) { // unroll
        sums[c] = V(f32(index + c));
    }
    for (var round = 0u; round < ROUNDS; round++) {
        for (var step = 0u; step < UNROLLED; step++) { // unroll
            for (var c = 0u; c < CHAINS; c++) { // unroll
                if (FUSED) { // static
                    sums[c] = fma(a, sums[c], b);
                } else {
                    sums[c] = a * sums[c] + b;
                }
            }
        }
    }
    var total = V();
    for (var c = 0u; c < CHAINS; c++) { // unroll
        total += sums[c];
    }
    y[index] = total;
}

// y = x
// Grid: x, folded into y, over elements / ITEMS.
@compute @workgroup_size(WG)
fn copy(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_id) local: vec3u) {
    let first = flat_workgroup_xy(group, groups) * WG * ITEMS + local.x;
    for (var i = 0u; i < ITEMS; i++) { // unroll
        let at = first + i * WG;
        if (at < arrayLength(&y)) {
            y[at] = x[at];
        }
    }
}

// y = x + ½ z: twice as many reads as writes
// Grid: x, folded into y, over elements / ITEMS.
@compute @workgroup_size(WG)
fn triad(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
         @builtin(local_invocation_id) local: vec3u) {
    let first = flat_workgroup_xy(group, groups) * WG * ITEMS + local.x;
    for (var i = 0u; i < ITEMS; i++) { // unroll
        let at = first + i * WG;
        if (at < arrayLength(&y)) {
            y[at] = x[at] + 0.5 * z[at];
        }
    }
}
