// Pooling over windows and over whole planes, forward and backward.
//
// Backward kernels gather: each input element reads all windows that cover it, so
// that no two invocations write the same element.

// import flat_index
// import nan

// Channels, and the planes of x and y.
const C: u32 = 4u;
const H: u32 = 8u;
const W: u32 = 8u;
const OH: u32 = 4u;
const OW: u32 = 4u;
// Side of a window, distance of windows, and padding.
const KERNEL: u32 = 2u;
const STRIDE: u32 = 2u;
const PADDING: u32 = 0u;
const WG: u32 = 64u;
// An element in memory.
alias Stored = f32;

@group(0) @binding(0) var<storage, read> x: array<Stored>;        // N, C, H, W
@group(0) @binding(1) var<storage, read> dy: array<Stored>;       // N, C, OH, OW
@group(0) @binding(2) var<storage, read_write> y: array<Stored>;  // N, C, OH, OW
@group(0) @binding(3) var<storage, read_write> dx: array<Stored>; // N, C, H, W

// Grid of all entry points: x, folded into y, over the elements of the output.

// Index in the plane of the maximum of window (oy, ox): the first one in reading
// order, but the last NaN where there are any, as in PyTorch. The plane begins at
// element `plane` of x.
fn winner(plane: u32, oy: u32, ox: u32) -> u32 {
    var best = 0;
    var place = 0xffffffffu;
    for (var ky = 0u; ky < KERNEL; ky++) {
        let iy = oy * STRIDE + ky - PADDING; // wraps around below zero
        for (var kx = 0u; kx < KERNEL; kx++) {
            let ix = ox * STRIDE + kx - PADDING;
            if (iy < H && ix < W) {
                let v = f32(x[plane + iy * W + ix]);
                let order = order_of(v);
                if (place == 0xffffffffu || order > best || is_nan(v)) {
                    best = order;
                    place = iy * W + ix;
                }
            }
        }
    }
    return place;
}

@compute @workgroup_size(WG)
fn max_pool(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index >= arrayLength(&y)) {
        return;
    }
    let plane = index / (OH * OW) * (H * W);
    y[index] = x[plane + winner(plane, index / OW % OH, index % OW)];
}

// First and one past the last window that covers element `at` along an axis.
fn windows(at: u32, count: u32) -> vec2u {
    let end = min((at + PADDING) / STRIDE + 1u, count);
    let begin = (max(at + PADDING + 1u, KERNEL) - KERNEL + STRIDE - 1u) / STRIDE;
    return vec2u(begin, end);
}

@compute @workgroup_size(WG)
fn max_pool_gradient(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                 @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index >= arrayLength(&dx)) {
        return;
    }
    let plane = index / (H * W);
    let rows = windows(index / W % H, OH);
    let cols = windows(index % W, OW);
    var sum = 0.0;
    for (var oy = rows.x; oy < rows.y; oy++) {
        for (var ox = cols.x; ox < cols.y; ox++) {
            if (winner(plane * H * W, oy, ox) == index % (H * W)) {
                sum += f32(dy[(plane * OH + oy) * OW + ox]);
            }
        }
    }
    dx[index] = Stored(sum);
}

@compute @workgroup_size(WG)
fn avg_pool(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index >= arrayLength(&y)) {
        return;
    }
    let plane = index / (OH * OW) * (H * W);
    let oy = index / OW % OH;
    let ox = index % OW;
    var sum = 0.0;
    for (var ky = 0u; ky < KERNEL; ky++) {
        let iy = oy * STRIDE + ky - PADDING;
        for (var kx = 0u; kx < KERNEL; kx++) {
            let ix = ox * STRIDE + kx - PADDING;
            if (iy < H && ix < W) {
                sum += f32(x[plane + iy * W + ix]);
            }
        }
    }
    y[index] = Stored(sum / f32(KERNEL * KERNEL));
}

@compute @workgroup_size(WG)
fn avg_pool_gradient(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                 @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index >= arrayLength(&dx)) {
        return;
    }
    let plane = index / (H * W);
    let rows = windows(index / W % H, OH);
    let cols = windows(index % W, OW);
    var sum = 0.0;
    for (var oy = rows.x; oy < rows.y; oy++) {
        for (var ox = cols.x; ox < cols.y; ox++) {
            sum += f32(dy[(plane * OH + oy) * OW + ox]);
        }
    }
    dx[index] = Stored(sum / f32(KERNEL * KERNEL));
}

@compute @workgroup_size(WG)
fn global_avg_pool(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                   @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index >= arrayLength(&y)) {
        return;
    }
    var sum = 0.0;
    for (var i = 0u; i < H * W; i++) {
        sum += f32(x[index * H * W + i]);
    }
    y[index] = Stored(sum / f32(H * W));
}

@compute @workgroup_size(WG)
fn global_avg_pool_gradient(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                        @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index < arrayLength(&dx)) {
        dx[index] = Stored(f32(dy[index / (H * W)]) / f32(H * W));
    }
}
