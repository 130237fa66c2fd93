// Weight gradient of a convolution. For processors, where a subgroup is a vector:
// each lane has source channels of its own, and all lanes have the same output
// channels and pixels.
//
// dW[k, c, ky, kx] is the sum over images and pixels of dy[k, y, x] times
// x[c, y·S + ky − P, x·S + kx − P], where x is `source`. A lane walks down a strip
// of PX output columns, PY output rows at a time, for its CB channels. The source
// rows that these need are in a sliding window, and KB × CB × TAPS sums are in
// registers. The values of dy are the same for all lanes: the lanes load KB × PY
// × PX of them together, and each value is broadcast from its lane. Loads cost
// by lane and instruction: where the driver has 64-bit integers, one load brings
// eight values (load8). `reduce.wgsl` adds the sums of all strips in a fixed
// order.

// import columns_load8
// import dy_row_load8
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
// Output columns, rows and channels at a time, and source channels per lane.
const PX: u32 = 4u;
const PY: u32 = 2u;
const KB: u32 = 4u;
const CB: u32 = 1u;
// Source columns beyond the strip's own PX · STRIDE.
const RIGHT: u32 = 1u;
// Images that a subgroup walks over, and the number of splits before this
// dispatch's.
const IMAGES: u32 = 1u;
const FIRST_SPLIT: u32 = 0u;
// Whether rows of x and dy are loaded as vec4, and by load8.
const SOURCE_VEC4: bool = true;
const DY_VEC4: bool = true;
const SOURCE_LOAD8: bool = false;
const DY_LOAD8: bool = false;
// Invocations of a subgroup, and of a workgroup.
const SUBGROUP_SIZE: u32 = 8u;
const WG: u32 = 32u;
// An element of x and dy in memory, and four elements.
alias Stored = f32;
alias Stored4 = vec4f;

// Source pixels of a row of a strip, its halo, and the number of strips.
const INNER_X: u32 = PX * STRIDE;
const LEFT: u32 = PADDING;
const COLS: u32 = LEFT + INNER_X + RIGHT;
const TILES_X: u32 = (DW + PX - 1u) / PX;
// Rows of the window, and those of them that the next output rows use again.
const ROWS: u32 = (PY - 1u) * STRIDE + KERNEL;
const KEPT_ROWS: u32 = max(ROWS, PY * STRIDE) - PY * STRIDE;
const TAPS: u32 = KERNEL * KERNEL;
// Whether every strip has a neighbour on one side only: `shared/halo.wgsl`.
const ONE_SIDED: bool = TILES_X == 2u && STRIDE == 1u && PADDING == 1u && RIGHT == 1u;
const K_BLOCKS: u32 = (DC + KB - 1u) / KB;
const C_BLOCKS: u32 = (SC + SUBGROUP_SIZE * CB - 1u) / (SUBGROUP_SIZE * CB);
// Values of dy that one load brings, which is also the length of a piece of a
// row, and loads per lane.
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

// Grid: x, folded into z, over blocks of channels, so that blocks that read the
// same images follow each other while these are in a cache; y over splits, a
// subgroup each. A split is a strip of a range of images.
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
    // The channels of a lane are SUBGROUP_SIZE apart.
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
            // This lane's share of KB × PY × PX values of dy.
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
                // One output row after the other: the values of one fit into
                // registers.
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
