// Gradient of a convolution by its weights, where a subgroup is a processor's
// vector: each lane has a source channel of its own, and all have the same
// output channels and pixels.
//
// dW[k, c, ky, kx] is a sum over images and pixels of dy[k, y, x] times
// x[c, y·S + ky − P, x·S + kx − P]. A lane walks down a strip of PX columns of
// its channel with the KERNEL source rows that the current output row needs
// in a sliding window, and keeps KB × taps sums. The values of dy are the same
// for all lanes: together they load KB × PX of them, and each is broadcast
// from the lane that has it. The sums of all strips are added by
// `reduce.wgsl` in a fixed order.

// One group's channels and the planes.
const C: u32 = 4u;
const H: u32 = 8u;
const W: u32 = 8u;
const K: u32 = 4u;
const OH: u32 = 8u;
const OW: u32 = 8u;
const GROUPS: u32 = 1u;
const KERNEL: u32 = 3u;
const STRIDE: u32 = 1u;
const PADDING: u32 = 1u;
// Output columns and output channels at a time.
const PX: u32 = 4u;
const KB: u32 = 4u;
// Source columns beyond the strip's own PX · STRIDE.
const RIGHT: u32 = 1u;
// Images that a subgroup walks through, and where its sums are put.
const IMAGES: u32 = 1u;
const FIRST_SPLIT: u32 = 0u;
const X4: bool = true;
const DY4: bool = true;
// Invocations in a subgroup, and subgroups' invocations in a workgroup.
const LANES: u32 = 8u;
const WG: u32 = 32u;
// An element of x and dy in memory, and four.
alias Stored = f32;
alias Stored4 = vec4f;

const INNER: u32 = PX * STRIDE;
const COLS: u32 = PADDING + INNER + RIGHT;
const STRIPS: u32 = (OW + PX - 1u) / PX;
// Rows of the window that the next output row uses again.
const KEEP: u32 = max(KERNEL, STRIDE) - STRIDE;
// Turns above the image that only fill those rows.
const WARM: u32 = (KEEP + STRIDE - 1u) / STRIDE;
const TAPS: u32 = KERNEL * KERNEL;
const K_BLOCKS: u32 = (K + KB - 1u) / KB;
const C_BLOCKS: u32 = (C + LANES - 1u) / LANES;
// Values of dy that one load brings, and loads of a lane.
const EACH: u32 = select(1u, 4u, DY4);
const CHUNKS: u32 = (KB * PX / EACH + LANES - 1u) / LANES;

@group(0) @binding(0) var<storage, read> x: array<Stored>;    // N, GROUPS·C, H, W
@group(0) @binding(1) var<storage, read> x4: array<Stored4>;  // the same memory
@group(0) @binding(2) var<storage, read> dy: array<Stored>;   // N, GROUPS·K, OH, OW
@group(0) @binding(3) var<storage, read> dy4: array<Stored4>; // the same memory
@group(0) @binding(4) var<storage, read_write> partial: array<f32>; // splits, GROUPS·K, C, TAPS

// INNER columns of row y of a plane from column sx on, with PADDING before and
// RIGHT behind; zero beyond the plane.
fn columns(plane: u32, sx: u32, y: u32) -> array<f32, COLS> {
    var row: array<f32, COLS>;
    // Wraps round below zero: one comparison finds both ends.
    let inside = y < H;
    let first = plane + min(y, H - 1u) * W;
    if (X4) { // static
        for (var q = 0u; q < INNER / 4u; q++) { // unroll
            let at = sx + 4u * q;
            let v = select(vec4f(), vec4f(x4[(first + min(at, W - 4u)) / 4u]), inside && at < W);
            row[PADDING + 4u * q] = v.x;
            row[PADDING + 4u * q + 1u] = v.y;
            row[PADDING + 4u * q + 2u] = v.z;
            row[PADDING + 4u * q + 3u] = v.w;
        }
    } else {
        for (var j = 0u; j < INNER; j++) { // unroll
            row[PADDING + j] = select(0.0, f32(x[first + min(sx + j, W - 1u)]), inside && sx + j < W);
        }
    }
    if (STRIPS > 1u) { // static
        for (var j = 0u; j < PADDING; j++) { // unroll
            let at = sx + j - PADDING;
            row[j] = select(0.0, f32(x[first + min(at, W - 1u)]), inside && at < W);
        }
    }
    for (var j = 0u; j < RIGHT; j++) { // unroll
        if (STRIPS > 1u || INNER + j < W) { // static
            let at = sx + INNER + j;
            row[PADDING + INNER + j] = select(0.0, f32(x[first + min(at, W - 1u)]), inside && at < W);
        }
    }
    return row;
}

// Grid: x over splits (a range of images and a strip), a subgroup each; y,
// folded into z, over blocks of channels.
@compute @workgroup_size(WG)
fn weight_grad(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
               @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
    let block = group.z * groups.y + group.y;
    let split = group.x * (WG / LANES) + subgroup;
    let strip = split % STRIPS;
    let batch = arrayLength(&x) / (GROUPS * C * H * W);
    let first = split / STRIPS * IMAGES;
    if (first >= batch || block >= GROUPS * K_BLOCKS * C_BLOCKS) {
        return;
    }
    let last = min(first + IMAGES, batch);
    let channel_group = block / (K_BLOCKS * C_BLOCKS);
    let k0 = block / C_BLOCKS % K_BLOCKS * KB;
    let c = block % C_BLOCKS * LANES + lane;
    let sx = strip * INNER;

    var acc: array<f32, KB * TAPS>;
    var window: array<f32, KERNEL * COLS>;
    for (var n = first; n < last; n++) {
        let plane = ((n * GROUPS + channel_group) * C + min(c, C - 1u)) * (H * W);
        for (var turn = 0u; turn < OH + WARM; turn++) {
            let oy = turn - WARM;
            for (var r = 0u; r < KERNEL - KEEP; r++) { // unroll
                let row = columns(plane, sx, oy * STRIDE + KEEP + r - PADDING);
                for (var j = 0u; j < COLS; j++) { // unroll
                    window[(KEEP + r) * COLS + j] = row[j];
                }
            }
            if (turn >= WARM) {
                // The lane's share of KB × PX values of dy.
                var share: array<f32, CHUNKS * EACH>;
                for (var i = 0u; i < CHUNKS; i++) { // unroll
                    let k = min(k0 + (i * LANES + lane) / (PX / EACH), K - 1u);
                    let at = strip * PX + (i * LANES + lane) % (PX / EACH) * EACH;
                    let row = ((n * GROUPS + channel_group) * K + k) * (OH * OW) + oy * OW;
                    if (DY4) { // static
                        let v = select(vec4f(), vec4f(dy4[(row + min(at, OW - 4u)) / 4u]), at < OW);
                        share[4u * i] = v.x;
                        share[4u * i + 1u] = v.y;
                        share[4u * i + 2u] = v.z;
                        share[4u * i + 3u] = v.w;
                    } else {
                        share[i] = select(0.0, f32(dy[row + min(at, OW - 1u)]), at < OW);
                    }
                }
                for (var k = 0u; k < KB; k++) { // unroll
                    var g: array<f32, PX>;
                    for (var px = 0u; px < PX; px++) { // unroll
                        g[px] = subgroupShuffle(
                            share[(k * PX + px) / EACH / LANES * EACH + px % EACH], (k * PX + px) / EACH % LANES);
                    }
                    // Row by row: what a row needs fits into registers.
                    for (var ky = 0u; ky < KERNEL; ky++) { // unroll
                        for (var px = 0u; px < PX; px++) { // unroll
                            for (var kx = 0u; kx < KERNEL; kx++) { // unroll
                                acc[k * TAPS + ky * KERNEL + kx] += g[px] * window[ky * COLS + px * STRIDE + kx];
                            }
                        }
                    }
                }
            }
            for (var i = 0u; i < KEEP * COLS; i++) { // unroll
                window[i] = window[STRIDE * COLS + i];
            }
        }
    }

    if (c < C) {
        for (var k = 0u; k < KB; k++) { // unroll
            if (K % KB == 0u || k0 + k < K) {
                let filter_at = (((FIRST_SPLIT + split) * GROUPS + channel_group) * K + k0 + k) * C + c;
                for (var tap = 0u; tap < TAPS; tap++) { // unroll
                    partial[filter_at * TAPS + tap] = acc[k * TAPS + tap];
                }
            }
        }
    }
}
