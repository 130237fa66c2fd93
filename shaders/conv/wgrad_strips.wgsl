// Weight gradient of a convolution, one strip of columns per invocation.
//
// dW[k, c, ky, kx] is the sum over images and pixels of dy[k, y, x] times
// x[c, y·S + ky − P, x·S + kx − P], where x is `source`. One invocation keeps the
// sums of TAP_ROWS rows of KB × CB kernels in registers and walks down a strip of
// PX output columns, image after image, with the source rows that the current
// output row needs in a sliding window. `reduce.wgsl` adds the sums of all strips in a fixed order:
// there are no atomics, and the bits are the same every time.

// import columns
// import dy_row
// import grid

// Channels of one group, and planes: SC, SH and SW of x, DC, DH and DW of dy.
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
// The tile: output columns, output channels, source channels.
const PX: u32 = 4u;
const KB: u32 = 4u;
const CB: u32 = 2u;
// Source columns beyond the strip's own PX · STRIDE.
const RIGHT: u32 = 1u;
// Rows of a kernel whose sums an invocation has: a divisor of KERNEL.
const TAP_ROWS: u32 = 3u;
// Images that an invocation walks over, and the number of splits before this
// dispatch's.
const IMAGES: u32 = 1u;
const FIRST_SPLIT: u32 = 0u;
// Whether rows of x and dy are loaded as vec4.
const SOURCE_VEC4: bool = true;
const DY_VEC4: bool = true;
const WG: u32 = 64u;
// An element of x and dy in memory, and four elements.
alias Stored = f32;
alias Stored4 = vec4f;

// Source pixels of a row of a strip, its halo, and the number of strips.
const INNER_X: u32 = PX * STRIDE;
const LEFT: u32 = PADDING;
const COLS: u32 = LEFT + INNER_X + RIGHT;
const TILES_X: u32 = (DW + PX - 1u) / PX;
// Whether halos are loaded as shared/halo.wgsl does between two tiles.
const ONE_SIDED: bool = false;
// Values of a piece of a row of dy.
const DY_COLS: u32 = PX;
// Rows of the window that the next output row uses again.
const KEPT_ROWS: u32 = max(TAP_ROWS, STRIDE) - STRIDE;
// Steps above the image that only fill those rows.
const FILL_STEPS: u32 = (KEPT_ROWS + STRIDE - 1u) / STRIDE;
const TAPS: u32 = KERNEL * KERNEL;
// Taps of an invocation, of each kernel, and the number of invocations that share
// a kernel.
const OWN_TAPS: u32 = TAP_ROWS * KERNEL;
const ROW_BLOCKS: u32 = KERNEL / TAP_ROWS;
const K_BLOCKS: u32 = (DC + KB - 1u) / KB;
const C_BLOCKS: u32 = (SC + CB - 1u) / CB;

@group(0) @binding(0) var<storage, read> source: array<Stored>;    // N, GROUPS·SC, SH, SW
@group(0) @binding(1) var<storage, read> source4: array<Stored4>;  // the same memory
@group(0) @binding(2) var<storage, read> dy: array<Stored>;   // N, GROUPS·DC, DH, DW
@group(0) @binding(3) var<storage, read> dy4: array<Stored4>; // the same memory
@group(0) @binding(4) var<storage, read_write> partial: array<f32>; // splits, GROUPS·DC, SC, TAPS

// Grid: x, folded into z, over channel blocks, of which wide 1×1 convolutions
// have hundreds of thousands, and rows of kernels; y over splits. A split is a
// strip of a range of images.
@compute @workgroup_size(WG)
fn weight_gradient(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
               @builtin(local_invocation_id) local: vec3u) {
    let index = flat_workgroup_xz(group, groups);
    let block = index / ROW_BLOCKS;
    let first_row = index % ROW_BLOCKS * TAP_ROWS;
    let split = group.y * WG + local.x;
    let strip = split % TILES_X;
    let batch = arrayLength(&source) / (GROUPS * SC * SH * SW);
    let first = split / TILES_X * IMAGES;
    if (first >= batch || block >= GROUPS * K_BLOCKS * C_BLOCKS) {
        return;
    }
    let last = min(first + IMAGES, batch);
    let channel_group = block / (K_BLOCKS * C_BLOCKS);
    let k0 = block / C_BLOCKS % K_BLOCKS * KB;
    let c0 = block % C_BLOCKS * CB;
    let sx = strip * INNER_X;

    var acc: array<f32, KB * CB * OWN_TAPS>;
    var window: array<f32, CB * TAP_ROWS * COLS>;
    for (var n = first; n < last; n++) {
        for (var step = 0u; step < DH + FILL_STEPS; step++) {
            let oy = step - FILL_STEPS;
            for (var c = 0u; c < CB; c++) { // unroll
                let plane = ((n * GROUPS + channel_group) * SC + min(c0 + c, SC - 1u)) * (SH * SW);
                for (var r = 0u; r < TAP_ROWS - KEPT_ROWS; r++) { // unroll
                    let row = columns(plane, sx, oy * STRIDE + first_row + KEPT_ROWS + r - PADDING);
                    for (var j = 0u; j < COLS; j++) { // unroll
                        window[(c * TAP_ROWS + KEPT_ROWS + r) * COLS + j] = row[j];
                    }
                }
            }
            if (step >= FILL_STEPS) {
                for (var k = 0u; k < KB; k++) { // unroll
                    let row = ((n * GROUPS + channel_group) * DC + min(k0 + k, DC - 1u)) * (DH * DW) + oy * DW;
                    let g = dy_row(row, strip * PX, true);
                    for (var c = 0u; c < CB; c++) { // unroll
                        for (var ky = 0u; ky < TAP_ROWS; ky++) { // unroll
                            for (var kx = 0u; kx < KERNEL; kx++) { // unroll
                                for (var px = 0u; px < PX; px++) { // unroll
                                    acc[((k * CB + c) * TAP_ROWS + ky) * KERNEL + kx] +=
                                        g[px] * window[(c * TAP_ROWS + ky) * COLS + px * STRIDE + kx];
                                }
                            }
                        }
                    }
                }
            }
            for (var c = 0u; c < CB; c++) { // unroll
                for (var i = 0u; i < KEPT_ROWS * COLS; i++) { // unroll
                    window[c * TAP_ROWS * COLS + i] = window[c * TAP_ROWS * COLS + STRIDE * COLS + i];
                }
            }
        }
    }

    for (var k = 0u; k < KB; k++) { // unroll
        for (var c = 0u; c < CB; c++) { // unroll
            if ((DC % KB == 0u || k0 + k < DC) && (SC % CB == 0u || c0 + c < SC)) {
                let filter_at = (((FIRST_SPLIT + split) * GROUPS + channel_group) * DC + k0 + k) * SC + c0 + c;
                for (var tap = 0u; tap < OWN_TAPS; tap++) { // unroll
                    partial[filter_at * TAPS + first_row * KERNEL + tap] = acc[(k * CB + c) * OWN_TAPS + tap];
                }
            }
        }
    }
}
