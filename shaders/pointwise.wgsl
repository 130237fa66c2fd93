// Elementwise operations that no other kernel includes: ReLU, the residual join,
// sums of gradients.

// import grid
// import relu

// What an invocation computes at once: four neighbours, or one element where
// tensors do not divide by four.
alias V = vec4f;
// The same in memory, in inputs and in the output.
alias Stored = V;
alias Out = V;
// Elements of type V per invocation, WG apart.
const ITEMS: u32 = 1u;
// Whether a ReLU follows the join.
const RELU: bool = false;
// Which gain of the block `scale` applies: 2 is the backward gain of the residual
// branch, 3 that of the shortcut.
const GAIN: u32 = 2u;
// Whether y is the memory of a.
const IN_PLACE: bool = false;
const WG: u32 = 64u;

@group(0) @binding(0) var<storage, read> a: array<Stored>;
@group(0) @binding(1) var<storage, read> b: array<Stored>;
@group(0) @binding(2) var<storage, read_write> y: array<Out>;
@group(0) @binding(3) var<storage, read> gains: array<vec4f>; // of one block

// The element of a.
fn first_input(at: u32) -> V {
    if (IN_PLACE) { // static
        return V(y[at]);
    } else {
        return V(a[at]);
    }
}

// Grid of all entry points: x, folded into y, over elements / ITEMS.

// y = max(a, 0)
@compute @workgroup_size(WG)
fn relu(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_id) local: vec3u) {
    let first = flat_workgroup_xy(group, groups) * WG * ITEMS + local.x;
    for (var i = 0u; i < ITEMS; i++) { // unroll
        let at = first + i * WG;
        if (at < arrayLength(&y)) {
            y[at] = Out(relu_of(first_input(at)));
        }
    }
}

// y = a where b, the ReLU's output, is positive or NaN
@compute @workgroup_size(WG)
fn relu_gradient(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
             @builtin(local_invocation_id) local: vec3u) {
    let first = flat_workgroup_xy(group, groups) * WG * ITEMS + local.x;
    for (var i = 0u; i < ITEMS; i++) { // unroll
        let at = first + i * WG;
        if (at < arrayLength(&y)) {
            y[at] = Out(where_active(first_input(at), V(b[at])));
        }
    }
}

// y = gain · a + gain · b; a summand with gain 0 is not read
@compute @workgroup_size(WG)
fn join(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_id) local: vec3u) {
    let gain = gains[0];
    let first = flat_workgroup_xy(group, groups) * WG * ITEMS + local.x;
    for (var i = 0u; i < ITEMS; i++) { // unroll
        let at = first + i * WG;
        if (at < arrayLength(&y)) {
            var v = V();
            if (gain.x != 0.0) {
                v = gain.x * first_input(at);
            }
            if (gain.y != 0.0) {
                v += gain.y * V(b[at]);
            }
            if (RELU) { // static
                v = relu_of(v);
            }
            y[at] = Out(v);
        }
    }
}

// y = gain · a, one of the block's backward gains
@compute @workgroup_size(WG)
fn scale(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
         @builtin(local_invocation_id) local: vec3u) {
    let gain = gains[0][GAIN];
    let first = flat_workgroup_xy(group, groups) * WG * ITEMS + local.x;
    for (var i = 0u; i < ITEMS; i++) { // unroll
        let at = first + i * WG;
        if (at < arrayLength(&y)) {
            y[at] = Out(gain * first_input(at));
        }
    }
}

// y = a + b
@compute @workgroup_size(WG)
fn add(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
       @builtin(local_invocation_id) local: vec3u) {
    let first = flat_workgroup_xy(group, groups) * WG * ITEMS + local.x;
    for (var i = 0u; i < ITEMS; i++) { // unroll
        let at = first + i * WG;
        if (at < arrayLength(&y)) {
            y[at] = Out(V(a[at]) + V(b[at]));
        }
    }
}

// y += a
@compute @workgroup_size(WG)
fn accumulate(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
              @builtin(local_invocation_id) local: vec3u) {
    let first = flat_workgroup_xy(group, groups) * WG * ITEMS + local.x;
    for (var i = 0u; i < ITEMS; i++) { // unroll
        let at = first + i * WG;
        if (at < arrayLength(&y)) {
            y[at] = Out(V(y[at]) + V(a[at]));
        }
    }
}

// y = a
@compute @workgroup_size(WG)
fn copy(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_id) local: vec3u) {
    let first = flat_workgroup_xy(group, groups) * WG * ITEMS + local.x;
    for (var i = 0u; i < ITEMS; i++) { // unroll
        let at = first + i * WG;
        if (at < arrayLength(&y)) {
            y[at] = Out(a[at]);
        }
    }
}
