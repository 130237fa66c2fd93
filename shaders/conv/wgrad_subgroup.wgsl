// Gradient of a convolution by its weights, where a subgroup is a processor's
// vector: each lane has source channels of its own, and all have the same
// output channels and pixels.
//
// dW[k, c, ky, kx] is a sum over images and pixels of dy[k, y, x] times
// x[c, y·S + ky − P, x·S + kx − P]. A lane walks down a strip of PX columns of
// its CB channels, PY output rows at a time, with the source rows that these
// need in a sliding window, and keeps KB × CB × TAPS sums. The values of dy are
// the same for all lanes: together they load KB × PY × PX of them, and each is
// broadcast from the lane that has it. Loads are dear by the lane and the
// instruction: load8 values come at once as 64-bit integers where the driver
// has them. The sums of all strips are added by `reduce.wgsl` in a fixed
// order.

// import columns_load8
// import dy_row_load8
// import grid

// One group's channels and the planes.
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
// Output columns, rows and channels at a time, and source channels of a lane.
const PX: u32 = 4u;
const PY: u32 = 2u;
const KB: u32 = 4u;
const CB: u32 = 1u;
// Source columns beyond the strip's own PX · STRIDE.
const RIGHT: u32 = 1u;
// Images that a subgroup walks through, and where its sums are put.
const IMAGES: u32 = 1u;
const FIRST_SPLIT: u32 = 0u;
// Whether rows are read by fours, and by eights.
const SOURCE_VEC4: bool = true;
const DY_VEC4: bool = true;
const SOURCE_LOAD8: bool = false;
const DY_LOAD8: bool = false;
// Invocations in a subgroup, and subgroups' invocations in a workgroup.
const SUBGROUP_SIZE: u32 = 8u;
const WG: u32 = 32u;
// An element of x and dy in memory, and four.
alias Stored = f32;
alias Stored4 = vec4f;

const INNER_X: u32 = PX * STRIDE;
const LEFT: u32 = PADDING;
const COLS: u32 = LEFT + INNER_X + RIGHT;
const TILES_X: u32 = (DW + PX - 1u) / PX;
// Rows of the window, and those of them that the next turn uses again.
const ROWS: u32 = (PY - 1u) * STRIDE + KERNEL;
const KEPT_ROWS: u32 = max(ROWS, PY * STRIDE) - PY * STRIDE;
const TAPS: u32 = KERNEL * KERNEL;
// Whether a strip has a neighbour on one side only.
const ONE_SIDED: bool = TILES_X == 2u && STRIDE == 1u && PADDING == 1u && RIGHT == 1u;
const K_BLOCKS: u32 = (DC + KB - 1u) / KB;
const C_BLOCKS: u32 = (SC + SUBGROUP_SIZE * CB - 1u) / (SUBGROUP_SIZE * CB);
// Values of dy that one load brings, and loads of a lane.
const LOAD_WIDTH: u32 = select(select(1u, 4u, DY_VEC4), 8u, DY_LOAD8);
const DY_COLS: u32 = LOAD_WIDTH;
const LANE_LOADS: u32 = (KB * PY * PX / LOAD_WIDTH + SUBGROUP_SIZE - 1u) / SUBGROUP_SIZE;

@group(0) @binding(0) var<storage, read> source: array<Stored>;    // N, GROUPS·SC, SH, SW
@group(0) @binding(1) var<storage, read> source4: array<Stored4>;  // the same memory
@group(0) @binding(2) var<storage, read> dy: array<Stored>;   // N, GROUPS·DC, DH, DW
@group(0) @binding(3) var<storage, read> dy4: array<Stored4>; // the same memory
@group(0) @binding(4) var<storage, read_write> partial: array<f32>; // splits, GROUPS·DC, SC, TAPS
@group(0) @binding(5) var<storage, read> source8: array<vec4<u64>>;  // the memory of `source`
@group(0) @binding(6) var<storage, read> dy8: array<vec4<u64>>; // the memory of `dy`

// Grid: x, folded into z, over blocks of channels, which follow each other while
// their images are in a cache; y over splits (a range of images and a strip), a
// subgroup each.
@compute @workgroup_size(WG)
fn weight_gradient(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
               @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
    let block = flat_workgroup_xz(group, groups);
    let split = group.y * (WG / SUBGROUP_SIZE) + subgroup;
    let strip = split % TILES_X;
    let batch = arrayLength(&source) / (GROUPS * SC * SH * SW);
    let first = split / TILES_X * IMAGES;
    if (first >= batch || block >= GROUPS * K_BLOCKS * C_BLOCKS) {
        return;
    }
    let last = min(first + IMAGES, batch);
    let channel_group = block / (K_BLOCKS * C_BLOCKS);
    let k0 = block / C_BLOCKS % K_BLOCKS * KB;
    // The lane's channels are SUBGROUP_SIZE apart.
    let c0 = block % C_BLOCKS * (SUBGROUP_SIZE * CB) + lane;
    let sx = strip * INNER_X;

    var acc: array<f32, KB * CB * TAPS>;
    var window: array<f32, CB * ROWS * COLS>;
    for (var n = first; n < last; n++) {
        let image = (n * GROUPS + channel_group) * SC;
        for (var i = 0u; i < CB; i++) { // unroll
            for (var r = 0u; r < KEPT_ROWS; r++) { // unroll
                var row: array<f32, COLS>;
                if (r >= PADDING) { // static
                    row = columns_load8((image + min(c0 + i * SUBGROUP_SIZE, SC - 1u)) * (SH * SW), sx, r - PADDING);
                }
                for (var j = 0u; j < COLS; j++) { // unroll
                    window[(i * ROWS + r) * COLS + j] = row[j];
                }
            }
        }
        for (var oy = 0u; oy < DH; oy += PY) {
            for (var i = 0u; i < CB; i++) { // unroll
                for (var r = KEPT_ROWS; r < ROWS; r++) { // unroll
                    if (r % STRIDE < KERNEL) { // static
                        let row = columns_load8((image + min(c0 + i * SUBGROUP_SIZE, SC - 1u)) * (SH * SW), sx, oy * STRIDE + r - PADDING);
                        for (var j = 0u; j < COLS; j++) { // unroll
                            window[(i * ROWS + r) * COLS + j] = row[j];
                        }
                    }
                }
            }
            // The lane's share of KB × PY × PX values of dy.
            var share: array<f32, LANE_LOADS * LOAD_WIDTH>;
            for (var i = 0u; i < LANE_LOADS; i++) { // unroll
                let place = (i * SUBGROUP_SIZE + lane) * LOAD_WIDTH;
                let k = min(k0 + place / (PY * PX), DC - 1u);
                let y = oy + place / PX % PY;
                let at = strip * PX + place % PX;
                let inside = at < DW && (DH % PY == 0u || y < DH);
                let row = ((n * GROUPS + channel_group) * DC + k) * (DH * DW) + min(y, DH - 1u) * DW;
                let values = dy_row_load8(row, at, inside);
                for (var j = 0u; j < LOAD_WIDTH; j++) { // unroll
                    share[LOAD_WIDTH * i + j] = values[j];
                }
            }
            for (var k = 0u; k < KB; k++) { // unroll
                var g: array<f32, PY * PX>;
                for (var p = 0u; p < PY * PX; p++) { // unroll
                    g[p] = subgroupShuffle(
                        share[(k * PY * PX + p) / LOAD_WIDTH / SUBGROUP_SIZE * LOAD_WIDTH + p % LOAD_WIDTH], (k * PY * PX + p) / LOAD_WIDTH % SUBGROUP_SIZE);
                }
                // Row by row: what a row needs fits into registers.
                for (var i = 0u; i < CB; i++) { // unroll
                    for (var py = 0u; py < PY; py++) { // unroll
                        for (var ky = 0u; ky < KERNEL; ky++) { // unroll
                            for (var px = 0u; px < PX; px++) { // unroll
                                for (var kx = 0u; kx < KERNEL; kx++) { // unroll
                                    acc[(k * CB + i) * TAPS + ky * KERNEL + kx] += g[py * PX + px]
                                        * window[(i * ROWS + py * STRIDE + ky) * COLS + px * STRIDE + kx];
                                }
                            }
                        }
                    }
                }
            }
            for (var i = 0u; i < CB; i++) { // unroll
                for (var j = 0u; j < KEPT_ROWS * COLS; j++) { // unroll
                    window[i * ROWS * COLS + j] = window[(i * ROWS + PY * STRIDE) * COLS + j];
                }
            }
        }
    }

    for (var i = 0u; i < CB; i++) { // unroll
        let c = c0 + i * SUBGROUP_SIZE;
        if (c < SC) {
            for (var k = 0u; k < KB; k++) { // unroll
                if (DC % KB == 0u || k0 + k < DC) {
                    let filter_at = (((FIRST_SPLIT + split) * GROUPS + channel_group) * DC + k0 + k) * SC + c;
                    for (var tap = 0u; tap < TAPS; tap++) { // unroll
                        partial[filter_at * TAPS + tap] = acc[(k * CB + i) * TAPS + tap];
                    }
                }
            }
        }
    }
}
