// Factors of values: gates of one factor per element or per channel and image
// (squeeze and excitation), the sigmoid that makes them, constant factors.

// import flat_index

// Elements of x for one of the gate: the plane of a channel, or 1.
const PLANE: u32 = 1u;
const FACTOR: f32 = 1.0;
const WG: u32 = 64u;
// An element in memory.
alias Stored = f32;

@group(0) @binding(0) var<storage, read> x: array<Stored>;           // N, C, H, W; dy in gradients
@group(0) @binding(1) var<storage, read> gate: array<Stored>;        // N, C, H, W or N, C
@group(0) @binding(2) var<storage, read_write> y: array<Stored>;     // as x
@group(0) @binding(3) var<storage, read_write> sums: array<Stored>;  // N, C

// Grid of all entry points: x, folded into y, over the elements of the output.

// y = FACTOR · x
@compute @workgroup_size(WG)
fn scale_by(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index < arrayLength(&y)) {
        y[index] = Stored(FACTOR * f32(x[index]));
    }
}

// y = 0
@compute @workgroup_size(WG)
fn zeros(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
         @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index < arrayLength(&y)) {
        y[index] = Stored(0.0);
    }
}

// y = 1 / (1 + exp(-x)), without an exponential that overflows
@compute @workgroup_size(WG)
fn sigmoid(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index < arrayLength(&y)) {
        let v = f32(x[index]);
        let e = exp(-abs(v));
        y[index] = Stored(select(1.0, e, v < 0.0) / (1.0 + e));
    }
}

// dx = dy · s · (1 - s), where s is the sigmoid's output: x is dy, the gate is s
@compute @workgroup_size(WG)
fn sigmoid_gradient(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                    @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index < arrayLength(&y)) {
        let s = f32(gate[index]);
        y[index] = Stored(f32(x[index]) * s * (1.0 - s));
    }
}

// y = x · gate
@compute @workgroup_size(WG)
fn multiply(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index < arrayLength(&y)) {
        y[index] = Stored(f32(x[index]) * f32(gate[index / PLANE]));
    }
}

// For each image and channel the sum of x · gate over the plane: x is dy, the
// gate is the value that a gate of N, C multiplied
@compute @workgroup_size(WG)
fn plane_dot(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
             @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index < arrayLength(&sums)) {
        var sum = 0.0;
        for (var i = 0u; i < PLANE; i++) {
            sum += f32(x[index * PLANE + i]) * f32(gate[index * PLANE + i]);
        }
        sums[index] = Stored(sum);
    }
}
