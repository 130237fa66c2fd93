// Sums in a fixed order, so that their bits are the same every time.

// import flat_index
// import workgroup_sum

// For `channel_sum`: channels, elements of a plane, images per chunk, and the number
// of chunks before this dispatch's.
const C: u32 = 4u;
const PLANE: u32 = 16u;
const IMAGES: u32 = 1u;
const FIRST_CHUNK: u32 = 0u;
const WG: u32 = 64u;
// An element of `x` in memory.
alias Stored = f32;
// What a workgroup adds.
alias Sum = f32;

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> x4: array<vec4f>; // the memory of `x`, in 32 bits

// y[i] = Σ over rows r of x[r, i]; x has as many rows as fit.
// Grid: x, folded into y, over the elements of y.
@compute @workgroup_size(WG)
fn sum_rows(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    let length = arrayLength(&y);
    if (index >= length) {
        return;
    }
    var sum = 0.0;
    for (var at = index; at < arrayLength(&x); at += length) {
        sum += f32(x[at]);
    }
    y[index] = sum;
}

// The same for 3×3 filters whose taps are stored apart: eight taps of all filters
// and rows come first, then the ninth taps.
// Grid: x, folded into y, over filters.
@compute @workgroup_size(WG)
fn sum_filters(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    let count = arrayLength(&y) / 9u;
    if (index >= count) {
        return;
    }
    let rows = arrayLength(&x) / (9u * count);
    var first: vec4f;
    var second: vec4f;
    var ninth = 0.0;
    for (var row = 0u; row < rows; row++) {
        let at = row * count + index;
        first += x4[2u * at];
        second += x4[2u * at + 1u];
        ninth += f32(x[rows * (8u * count) + at]);
    }
    for (var tap = 0u; tap < 4u; tap++) { // unroll
        y[9u * index + tap] = first[tap];
        y[9u * index + 4u + tap] = second[tap];
    }
    y[9u * index + 8u] = ninth;
}

// Sum of each channel over a chunk of images, to y[chunk, c].
// Grid: x over chunks, y over channels.
@compute @workgroup_size(WG)
fn channel_sum(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let c = group.y;
    let first = group.x * IMAGES;
    let last = min(first + IMAGES, arrayLength(&x) / (C * PLANE));
    var sum = 0.0;
    for (var i = local.x; i < (last - first) * PLANE; i += WG) {
        sum += f32(x[((first + i / PLANE) * C + c) * PLANE + i % PLANE]);
    }
    let all = workgroup_sum(sum, local.x);
    if (local.x == 0u) {
        y[(FIRST_CHUNK + group.x) * C + c] = all;
    }
}
