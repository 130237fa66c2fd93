// Gradient of a convolution by its weights.
//
// dW[k, c, ky, kx] is a sum over images and pixels of dy[k, y, x] times
// x[c, y·S + ky − P, x·S + kx − P]. One invocation keeps KB × CB × taps sums
// in registers and walks down a strip of PX columns, image after image, with
// the KERNEL source rows that the current output row needs in a sliding
// window. The partial sums of all strips are added by `reduce.wgsl` in a
// fixed order: no atomics, the same bits every time.

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
// The tile: output columns, output channels, source channels.
const PX: u32 = 4u;
const KB: u32 = 4u;
const CB: u32 = 2u;
// Source columns beyond the strip's own PX · STRIDE.
const RIGHT: u32 = 1u;
// Images that one invocation walks through, and where its sums are put.
const IMAGES: u32 = 1u;
const FIRST_SPLIT: u32 = 0u;
const SOURCE_VEC4: bool = true;
const DY_VEC4: bool = true;
const WG: u32 = 64u;
// An element of x and dy in memory, and four.
alias Stored = f32;
alias Stored4 = vec4f;

const INNER: u32 = PX * STRIDE;
const COLS: u32 = PADDING + INNER + RIGHT;
const STRIPS: u32 = (OW + PX - 1u) / PX;
// Rows of the window that the next output row uses again.
const KEPT_ROWS: u32 = max(KERNEL, STRIDE) - STRIDE;
// Turns above the image that only fill those rows.
const FILL_STEPS: u32 = (KEPT_ROWS + STRIDE - 1u) / STRIDE;
const TAPS: u32 = KERNEL * KERNEL;
const K_BLOCKS: u32 = (K + KB - 1u) / KB;
const C_BLOCKS: u32 = (C + CB - 1u) / CB;

@group(0) @binding(0) var<storage, read> x: array<Stored>;    // N, GROUPS·C, H, W
@group(0) @binding(1) var<storage, read> x4: array<Stored4>;  // the same memory
@group(0) @binding(2) var<storage, read> dy: array<Stored>;   // N, GROUPS·K, OH, OW
@group(0) @binding(3) var<storage, read> dy4: array<Stored4>; // the same memory
@group(0) @binding(4) var<storage, read_write> partial: array<f32>; // splits, GROUPS·K, C, TAPS

// Grid: x, folded into z, over channel blocks, of which wide 1×1 convolutions
// have hundreds of thousands; y over splits (a range of images and a strip).
@compute @workgroup_size(WG)
fn weight_gradient(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
               @builtin(local_invocation_id) local: vec3u) {
    let block = group.z * groups.x + group.x;
    let split = group.y * WG + local.x;
    let strip = split % STRIPS;
    let batch = arrayLength(&x) / (GROUPS * C * H * W);
    let first = split / STRIPS * IMAGES;
    if (first >= batch || block >= GROUPS * K_BLOCKS * C_BLOCKS) {
        return;
    }
    let last = min(first + IMAGES, batch);
    let channel_group = block / (K_BLOCKS * C_BLOCKS);
    let k0 = block / C_BLOCKS % K_BLOCKS * KB;
    let c0 = block % C_BLOCKS * CB;
    let sx = strip * INNER;

    var acc: array<f32, KB * CB * TAPS>;
    var window: array<f32, CB * KERNEL * COLS>;
    var g: array<f32, PX>;
    for (var n = first; n < last; n++) {
        for (var turn = 0u; turn < OH + FILL_STEPS; turn++) {
            let oy = turn - FILL_STEPS;
            for (var c = 0u; c < CB; c++) { // unroll
                let plane = ((n * GROUPS + channel_group) * C + min(c0 + c, C - 1u)) * (H * W);
                for (var r = 0u; r < KERNEL - KEPT_ROWS; r++) { // unroll
                    // Wraps round below zero: one comparison finds both ends.
                    let y = oy * STRIDE + KEPT_ROWS + r - PADDING;
                    let inside = y < H;
                    let row = plane + min(y, H - 1u) * W;
                    if (SOURCE_VEC4) { // static
                        for (var q = 0u; q < INNER / 4u; q++) { // unroll
                            let at = sx + 4u * q;
                            let v = select(vec4f(), vec4f(x4[(row + min(at, W - 4u)) / 4u]), inside && at < W);
                            window[(c * KERNEL + KEPT_ROWS + r) * COLS + PADDING + 4u * q] = v.x;
                            window[(c * KERNEL + KEPT_ROWS + r) * COLS + PADDING + 4u * q + 1u] = v.y;
                            window[(c * KERNEL + KEPT_ROWS + r) * COLS + PADDING + 4u * q + 2u] = v.z;
                            window[(c * KERNEL + KEPT_ROWS + r) * COLS + PADDING + 4u * q + 3u] = v.w;
                        }
                    } else {
                        for (var j = 0u; j < INNER; j++) { // unroll
                            let at = sx + j;
                            window[(c * KERNEL + KEPT_ROWS + r) * COLS + PADDING + j] =
                                select(0.0, f32(x[row + min(at, W - 1u)]), inside && at < W);
                        }
                    }
                    for (var j = 0u; j < PADDING; j++) { // unroll
                        if (STRIPS == 1u) { // static
                            window[(c * KERNEL + KEPT_ROWS + r) * COLS + j] = 0.0;
                        } else {
                            let at = sx + j - PADDING;
                            window[(c * KERNEL + KEPT_ROWS + r) * COLS + j] =
                                select(0.0, f32(x[row + min(at, W - 1u)]), inside && at < W);
                        }
                    }
                    for (var j = 0u; j < RIGHT; j++) { // unroll
                        if (STRIPS == 1u && INNER + j >= W) { // static
                            window[(c * KERNEL + KEPT_ROWS + r) * COLS + PADDING + INNER + j] = 0.0;
                        } else {
                            let at = sx + INNER + j;
                            window[(c * KERNEL + KEPT_ROWS + r) * COLS + PADDING + INNER + j] =
                                select(0.0, f32(x[row + min(at, W - 1u)]), inside && at < W);
                        }
                    }
                }
            }
            if (turn >= FILL_STEPS) {
                for (var k = 0u; k < KB; k++) { // unroll
                    let row = ((n * GROUPS + channel_group) * K + min(k0 + k, K - 1u)) * (OH * OW) + oy * OW;
                    if (DY_VEC4) { // static
                        for (var q = 0u; q < PX / 4u; q++) { // unroll
                            let at = strip * PX + 4u * q;
                            let v = select(vec4f(), vec4f(dy4[(row + min(at, OW - 4u)) / 4u]), at < OW);
                            g[4u * q] = v.x;
                            g[4u * q + 1u] = v.y;
                            g[4u * q + 2u] = v.z;
                            g[4u * q + 3u] = v.w;
                        }
                    } else {
                        for (var j = 0u; j < PX; j++) { // unroll
                            let at = strip * PX + j;
                            g[j] = select(0.0, f32(dy[row + min(at, OW - 1u)]), at < OW);
                        }
                    }
                    for (var c = 0u; c < CB; c++) { // unroll
                        for (var ky = 0u; ky < KERNEL; ky++) { // unroll
                            for (var kx = 0u; kx < KERNEL; kx++) { // unroll
                                for (var px = 0u; px < PX; px++) { // unroll
                                    acc[((k * CB + c) * KERNEL + ky) * KERNEL + kx] +=
                                        g[px] * window[(c * KERNEL + ky) * COLS + px * STRIDE + kx];
                                }
                            }
                        }
                    }
                }
            }
            for (var c = 0u; c < CB; c++) { // unroll
                for (var i = 0u; i < KEPT_ROWS * COLS; i++) { // unroll
                    window[c * KERNEL * COLS + i] = window[c * KERNEL * COLS + STRIDE * COLS + i];
                }
            }
        }
    }

    for (var k = 0u; k < KB; k++) { // unroll
        for (var c = 0u; c < CB; c++) { // unroll
            if ((K % KB == 0u || k0 + k < K) && (C % CB == 0u || c0 + c < C)) {
                let filter_at = (((FIRST_SPLIT + split) * GROUPS + channel_group) * K + k0 + k) * C + c0 + c;
                for (var tap = 0u; tap < TAPS; tap++) { // unroll
                    partial[filter_at * TAPS + tap] = acc[(k * CB + c) * TAPS + tap];
                }
            }
        }
    }
}
