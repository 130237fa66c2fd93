// Convolution and both of its gradients as matrix products through workgroup
// memory, for GPUs.
//
// A workgroup computes a tile of TM × TN results, DEPTH terms of the reduction at
// a time: all invocations load the next columns of both factors to workgroup
// memory, then each multiplies SM × SN of them in registers. A value that is
// loaded once is used TN or TM times, because a GPU's memory is too slow to
// deliver it that often.
//
// No matrix of patches is ever written ("implicit GEMM", Chetlur et al. 2014).
// `gemm` computes pixels × channels, forward or as input gradient, and reads the
// source pixel that belongs to a pixel and a tap. `gemm_weight_gradient` computes
// (channel, tap) × channels, summed over pixels.
//
// The four components of one vector in workgroup memory are results TM / 4 apart.
// So neighbouring invocations access neighbouring addresses of memory, whole
// vectors move, and in `gemm` no two invocations access the same bank.

// import flat_index
// import grid
// import weight

// One group's channels, and the planes, of source and destination; in
// `gemm_weight_gradient` those of x and dy.
const SC: u32 = 4u;
const SH: u32 = 8u;
const SW: u32 = 8u;
const DC: u32 = 4u;
const DH: u32 = 8u;
const DW: u32 = 8u;
const GROUPS: u32 = 1u;
const KERNEL: u32 = 3u;
const STRIDE: u32 = 1u;
const PADDING: u32 = 1u;
// Whether this is the input gradient at a stride. Destination pixels whose rows
// and columns leave the same remainders by STRIDE are a phase, which only every
// STRIDE-th tap reaches. Each phase is a matrix of its own, without zeros.
const TRANSPOSED: bool = false;
const BIAS: bool = false;
// For packing: `weight` in shared/weight.wgsl.
const EXCHANGED: bool = false;
const FLIPPED: bool = false;
// The tile, the part of one invocation, and terms at a time.
const TM: u32 = 32u;
const TN: u32 = 16u;
const DEPTH: u32 = 8u;
const SM: u32 = 4u;
const SN: u32 = 4u;
// With two buffers, the next terms are stored while other invocations still
// multiply.
const BUFFERS: u32 = 1u;
// Unused vectors between rows of workgroup memory, against bank conflicts.
const PAD: u32 = 0u;
const WG: u32 = 32u;
// For `gemm_weight_gradient`: pixels that a workgroup sums over, and the number of
// splits before this dispatch's.
const CHUNK: u32 = 64u;
const FIRST_SPLIT: u32 = 0u;
// An element of source, destination and dy in memory.
alias Source = f32;
alias Dest = f32;
alias Slope = f32;

const TM4: u32 = TM / 4u;
const TN4: u32 = TN / 4u;
const SM4: u32 = SM / 4u;
const SN4: u32 = SN / 4u;
const INVOCATIONS_M: u32 = TM / SM;
const INVOCATIONS_N: u32 = TN / SN;
const LEFT_ROW: u32 = TM4 + PAD;
const RIGHT_ROW: u32 = TN4 + PAD;
const LEFT_LOADS: u32 = (DEPTH * TM4 + WG - 1u) / WG;
const RIGHT_LOADS: u32 = (DEPTH * TN4 + WG - 1u) / WG;
const TAPS: u32 = KERNEL * KERNEL;
const SPLANE: u32 = SH * SW;
const DPLANE: u32 = DH * DW;
const TILES_N: u32 = (DC + TN - 1u) / TN;
// Columns of `gemm_weight_gradient`.
const COLUMNS: u32 = SC * TAPS;
const TILES_M: u32 = (COLUMNS + TM - 1u) / TM;

@group(0) @binding(0) var<storage, read> source: array<Source>;      // N, GROUPS·SC, SH, SW
@group(0) @binding(1) var<storage, read> weights4: array<vec4f>;     // GROUPS, TAPS, SC, TILES_N·TN
@group(0) @binding(2) var<storage, read> bias: array<f32>;           // GROUPS·DC
@group(0) @binding(3) var<storage, read_write> dest: array<Dest>;    // N, GROUPS·DC, DH, DW
@group(0) @binding(4) var<storage, read> weights: array<f32>;        // K, C / GROUPS, KERNEL, KERNEL
@group(0) @binding(5) var<storage, read_write> repacked: array<f32>; // as `weights4`
@group(0) @binding(6) var<storage, read> dy: array<Slope>;           // N, GROUPS·DC, DH, DW
@group(0) @binding(7) var<storage, read_write> partial: array<f32>;  // splits, GROUPS·DC, SC, TAPS

var<workgroup> left: array<vec4f, BUFFERS * DEPTH * LEFT_ROW>;
var<workgroup> right: array<vec4f, BUFFERS * DEPTH * RIGHT_ROW>;

// Adds the products of the terms in one buffer to the sums of the invocation
// at (across, down).
fn multiply(buffer: u32, across: u32, down: u32, sums: ptr<function, array<vec4f, SM * SN4>>) {
    for (var d = 0u; d < DEPTH; d++) {
        var a: array<vec4f, SM4>;
        var b: array<vec4f, SN4>;
        for (var i = 0u; i < SM4; i++) { // unroll
            a[i] = left[(buffer * DEPTH + d) * LEFT_ROW + i * INVOCATIONS_M + across];
        }
        for (var j = 0u; j < SN4; j++) { // unroll
            b[j] = right[(buffer * DEPTH + d) * RIGHT_ROW + j * INVOCATIONS_N + down];
        }
        for (var i = 0u; i < SM; i++) { // unroll
            for (var j = 0u; j < SN4; j++) { // unroll
                (*sums)[i * SN4 + j] += a[i / 4u][i % 4u] * b[j];
            }
        }
    }
}

// Rows and columns of a phase, in each image.
fn phase_plane(phase: u32) -> vec2u {
    if (TRANSPOSED) { // static
        return (vec2u(DH, DW) + STRIDE - 1u - vec2u(phase / STRIDE, phase % STRIDE)) / STRIDE;
    } else {
        return vec2u(DH, DW);
    }
}

// The first tap of each axis that reaches a phase.
fn first_tap(phase: u32) -> vec2u {
    if (TRANSPOSED) { // static
        return (vec2u(phase / STRIDE, phase % STRIDE) + PADDING) % STRIDE;
    } else {
        return vec2u();
    }
}

// Taps of each axis that reach a phase.
fn taps(phase: u32) -> vec2u {
    if (TRANSPOSED) { // static
        return (KERNEL + STRIDE - 1u - first_tap(phase)) / STRIDE;
    } else {
        return vec2u(KERNEL);
    }
}

// Image, row and column of a phase's pixel m.
fn pixel(m: u32, phase: u32) -> vec3u {
    let plane = phase_plane(phase);
    let at = vec3u(m / (plane.x * plane.y), m / plane.y % plane.x, m % plane.y);
    if (TRANSPOSED) { // static
        return vec3u(at.x, at.yz * STRIDE + vec2u(phase / STRIDE, phase % STRIDE));
    } else {
        return at;
    }
}

// Grid: x, folded into z, over tiles of a phase's pixels of all images; y over
// tiles of channels, groups and phases.
@compute @workgroup_size(WG)
fn gemm(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_id) local: vec3u) {
    let first_pixel = flat_workgroup_xz(group, groups) * TM;
    let first_channel = group.y % TILES_N * TN;
    let channel_group = group.y / TILES_N % GROUPS;
    let phase = group.y / (TILES_N * GROUPS);
    let plane = phase_plane(phase);
    let pixels = arrayLength(&dest) / (GROUPS * DC * DPLANE) * plane.x * plane.y;
    let reach = taps(phase);
    let terms = reach.x * reach.y * SC;
    let steps = (terms + DEPTH - 1u) / DEPTH;

    // The four pixels that this invocation loads: the first plane of the image,
    // and the source pixel of the first tap. A coordinate below zero wraps around
    // to a large number: one comparison finds both ends. A pixel beyond the last
    // one gets a row far outside.
    let slot = local.x % TM4;
    var image: array<u32, 4>;
    var row: array<u32, 4>;
    var column: array<u32, 4>;
    for (var i = 0u; i < 4u; i++) { // unroll
        let m = first_pixel + i * TM4 + slot;
        let at = pixel(m, phase);
        image[i] = (at.x * GROUPS + channel_group) * SC * SPLANE;
        if (TRANSPOSED) { // static
            let first = (at.yz + PADDING - first_tap(phase)) / STRIDE;
            row[i] = select(1u << 30u, first.x, m < pixels);
            column[i] = first.y;
        } else {
            row[i] = select(1u << 30u, at.y * STRIDE - PADDING, m < pixels);
            column[i] = at.z * STRIDE - PADDING;
        }
    }

    var sums: array<vec4f, SM * SN4>;
    let across = local.x % INVOCATIONS_M;
    let down = local.x / INVOCATIONS_M;
    // Where a factor has fewer vectors than there are invocations, one half of
    // the invocations loads one factor, the other half the other.
    let other = local.x ^ (WG / 2u);
    for (var step = 0u; step <= steps; step++) {
        // Loaded from memory while the previous terms are multiplied.
        var next_left: array<vec4f, LEFT_LOADS>;
        var next_right: array<vec4f, RIGHT_LOADS>;
        if (step < steps) {
            for (var i = 0u; i < LEFT_LOADS; i++) { // unroll
                let term = step * DEPTH + (i * WG + local.x) / TM4;
                var tap = term / SC;
                if (SC % DEPTH == 0u) { // static
                    tap = step * DEPTH / SC;
                }
                let plane_at = (term - tap * SC) * SPLANE;
                for (var j = 0u; j < 4u; j++) { // unroll
                    var y = row[j] + tap / reach.y;
                    var x = column[j] + tap % reach.y;
                    if (TRANSPOSED) { // static
                        y = row[j] - tap / reach.y;
                        x = column[j] - tap % reach.y;
                    }
                    if (term < terms && y < SH && x < SW) {
                        next_left[i][j] = f32(source[image[j] + plane_at + y * SW + x]);
                    }
                }
            }
            for (var i = 0u; i < RIGHT_LOADS; i++) { // unroll
                let at = i * WG + other;
                let term = step * DEPTH + at / TN4;
                var line = term;
                if (TRANSPOSED) { // static
                    let tap = term / SC;
                    let k = first_tap(phase) + STRIDE * vec2u(tap / reach.y, tap % reach.y);
                    line = (k.x * KERNEL + k.y) * SC + term % SC;
                }
                if (term < terms) {
                    next_right[i] = weights4[((channel_group * TAPS * SC + line) * TILES_N * TN + first_channel) / 4u
                        + at % TN4];
                }
            }
        }
        if (step > 0u) {
            multiply((step - 1u) % BUFFERS, across, down, &sums);
        }
        if (BUFFERS == 1u) { // static
            workgroupBarrier();
        }
        if (step < steps) {
            for (var i = 0u; i < LEFT_LOADS; i++) { // unroll
                let at = i * WG + local.x;
                if (DEPTH * TM4 % WG == 0u || at < DEPTH * TM4) {
                    left[(step % BUFFERS * DEPTH + at / TM4) * LEFT_ROW + at % TM4] = next_left[i];
                }
            }
            for (var i = 0u; i < RIGHT_LOADS; i++) { // unroll
                let at = i * WG + other;
                if (DEPTH * TN4 % WG == 0u || at < DEPTH * TN4) {
                    right[(step % BUFFERS * DEPTH + at / TN4) * RIGHT_ROW + at % TN4] = next_right[i];
                }
            }
        }
        workgroupBarrier();
    }

    for (var i = 0u; i < SM; i++) { // unroll
        let m = first_pixel + i % 4u * TM4 + i / 4u * INVOCATIONS_M + across;
        if (m < pixels) {
            let at = pixel(m, phase);
            let first = (at.x * GROUPS + channel_group) * DC * DPLANE + at.y * DW + at.z;
            for (var k = 0u; k < SN; k++) { // unroll
                let channel = first_channel + (k / 4u * INVOCATIONS_N + down) * 4u + k % 4u;
                if (DC % TN == 0u || channel < DC) {
                    if (BIAS) { // static
                        dest[first + channel * DPLANE] =
                            Dest(sums[i * SN4 + k / 4u][k % 4u] + bias[channel_group * DC + channel]);
                    } else {
                        dest[first + channel * DPLANE] = Dest(sums[i * SN4 + k / 4u][k % 4u]);
                    }
                }
            }
        }
    }
}

// dw[k, c, ky, kx] = Σ dy[n, k, oy, ox] · x[n, c, oy·S + ky − P, ox·S + kx − P]
// over a chunk of pixels: `reduce.wgsl` adds the chunks in a fixed order.
// Neighbouring invocations load neighbouring pixels, which are terms here. So
// PAD vectors between the rows of workgroup memory avoid bank conflicts.
// Grid: x over chunks; y, folded into z, over tiles of columns and channels of
// all groups.
@compute @workgroup_size(WG)
fn gemm_weight_gradient(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                @builtin(local_invocation_id) local: vec3u) {
    let tile = flat_workgroup_yz(group, groups);
    let first_column = tile % TILES_M * TM;
    let first_channel = tile / TILES_M % TILES_N * TN;
    let channel_group = tile / (TILES_M * TILES_N);
    let pixels = arrayLength(&dy) / (GROUPS * DC);
    let first_pixel = group.x * CHUNK;
    let end = min(first_pixel + CHUNK, pixels);
    // The last workgroups of a folded grid may have no tile.
    let terms = select(0u, end - min(first_pixel, end), channel_group < GROUPS);
    let steps = (terms + DEPTH - 1u) / DEPTH;

    var sums: array<vec4f, SM * SN4>;
    let across = local.x % INVOCATIONS_M;
    let down = local.x / INVOCATIONS_M;
    // Where a factor has fewer vectors than there are invocations, one half of
    // the invocations loads one factor, the other half the other.
    let other = local.x ^ (WG / 2u);
    for (var step = 0u; step <= steps; step++) {
        var next_left: array<vec4f, LEFT_LOADS>;
        var next_right: array<vec4f, RIGHT_LOADS>;
        if (step < steps) {
            let m = first_pixel + step * DEPTH + local.x % DEPTH;
            let n = m / DPLANE;
            let top = m / DW % DH * STRIDE - PADDING;
            let side = m % DW * STRIDE - PADDING;
            for (var i = 0u; i < LEFT_LOADS; i++) { // unroll
                for (var j = 0u; j < 4u; j++) { // unroll
                    let column = first_column + j * TM4 + (i * WG + local.x) / DEPTH;
                    let c = column / TAPS;
                    let y = top + column % TAPS / KERNEL;
                    let x = side + column % KERNEL;
                    if (m < end && c < SC && y < SH && x < SW) {
                        next_left[i][j] = f32(source[((n * GROUPS + channel_group) * SC + c) * SPLANE + y * SW + x]);
                    }
                }
            }
            for (var i = 0u; i < RIGHT_LOADS; i++) { // unroll
                for (var j = 0u; j < 4u; j++) { // unroll
                    let channel = first_channel + (i * WG + other) / DEPTH * 4u + j;
                    if (m < end && channel < DC) {
                        next_right[i][j] = f32(dy[((n * GROUPS + channel_group) * DC + channel) * DPLANE + m % DPLANE]);
                    }
                }
            }
        }
        if (step > 0u) {
            multiply((step - 1u) % BUFFERS, across, down, &sums);
        }
        if (BUFFERS == 1u) { // static
            workgroupBarrier();
        }
        if (step < steps) {
            let line = step % BUFFERS * DEPTH + local.x % DEPTH;
            for (var i = 0u; i < LEFT_LOADS; i++) { // unroll
                let at = (i * WG + local.x) / DEPTH;
                if (DEPTH * TM4 % WG == 0u || at < TM4) {
                    left[line * LEFT_ROW + at] = next_left[i];
                }
            }
            for (var i = 0u; i < RIGHT_LOADS; i++) { // unroll
                let at = (i * WG + other) / DEPTH;
                if (DEPTH * TN4 % WG == 0u || at < TN4) {
                    right[line * RIGHT_ROW + at] = next_right[i];
                }
            }
        }
        workgroupBarrier();
    }

    for (var i = 0u; i < SM; i++) { // unroll
        let column = first_column + i % 4u * TM4 + i / 4u * INVOCATIONS_M + across;
        for (var k = 0u; k < SN; k++) { // unroll
            let channel = first_channel + (k / 4u * INVOCATIONS_N + down) * 4u + k % 4u;
            if (channel_group < GROUPS && column < COLUMNS && channel < DC) {
                partial[(((FIRST_SPLIT + group.x) * GROUPS + channel_group) * DC + channel) * COLUMNS + column] =
                    sums[i * SN4 + k / 4u][k % 4u];
            }
        }
    }
}

// Packs weights for `gemm`: for each tap and source channel, all destination
// channels of a group; zero beyond the last one.
// Grid: x, folded into y, over the packed weights.
@compute @workgroup_size(WG)
fn pack_gemm(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
             @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index >= GROUPS * TAPS * SC * TILES_N * TN) {
        return;
    }
    let channel = index % (TILES_N * TN);
    let c = index / (TILES_N * TN) % SC;
    let tap = index / (TILES_N * TN * SC) % TAPS;
    let channel_group = index / (TILES_N * TN * SC * TAPS);
    repacked[index] = weight(channel_group, channel, c, tap);
}
