// Weight gradient of a 3×3 convolution at stride 1, by Winograd's minimal
// filtering F(3×3, 4×4) (Lavin and Gray 2016). For processors, where a subgroup
// is a vector: each lane has a source channel of its own, and all lanes have the
// same pixels.
//
// dW[k, c, ky, kx] is the sum over images and pixels of dy[k, y, x] times
// x[c, y + ky − P, x + kx − P], where x is `source`. A patch of 4 × 4 pixels of dy
// adds to nine taps with 36 products instead of 144: those of the terms of the
// patch with the terms of the 6 × 6 source pixels that it meets. One step takes
// IMAGES × PY × PX pixels. The terms of their source pixels stay on the stack, in
// the first-level cache, and a loop that carries nothing goes over the output
// channels. For each of these it sums products in registers, transforms the
// sums back to taps, and adds them to the taps of the step before, which are in
// memory. `reduce.wgsl` adds the taps of all walks in a fixed order.
//
// The values of dy are the same for all lanes. The lanes load and transform them
// together, each lane other patches, and each term is broadcast from its lane.
// Loads cost by lane and instruction: where the driver has 64-bit integers, one
// load brings eight values (load8).
//
// For the points of the transforms see `shared/winograd_6x6.wgsl`.

// import columns_load8
// import dy_row_load8
// import grid
// import winograd_6x6

// Channels of one group, and planes: SC, SH and SW of x, DC, DH and DW of dy.
const SC: u32 = 4u;
const SH: u32 = 8u;
const SW: u32 = 8u;
const DC: u32 = 4u;
const DH: u32 = 8u;
const DW: u32 = 8u;
const GROUPS: u32 = 1u;
const PADDING: u32 = 1u;
// Columns and rows of a step, multiples of four, and its images.
const PX: u32 = 8u;
const PY: u32 = 8u;
const IMAGES: u32 = 1u;
// Images that a subgroup walks over, the number of walks before this dispatch's,
// and the number of all walks.
const WALK_IMAGES: u32 = 1u;
const FIRST_WALK: u32 = 0u;
const WALKS: u32 = 1u;
// Whether rows of x and dy are loaded as vec4, and by load8; and whether sums are
// loaded by load8.
const SOURCE_VEC4: bool = true;
const DY_VEC4: bool = true;
const SOURCE_LOAD8: bool = false;
const DY_LOAD8: bool = false;
const SUMS_LOAD8: bool = false;
// Invocations of a subgroup, which is a workgroup.
const SUBGROUP_SIZE: u32 = 8u;
// An element of x and dy in memory, and four elements.
alias Stored = f32;
alias Stored4 = vec4f;

// Source pixels of a row of a tile, and the halo on its left and right.
const INNER_X: u32 = PX;
const LEFT: u32 = PADDING;
const RIGHT: u32 = 2u - PADDING;
const COLS: u32 = LEFT + INNER_X + RIGHT;
// Whether halos are loaded as shared/halo.wgsl does between two tiles.
const ONE_SIDED: bool = false;
const ROWS: u32 = PY + 2u;
const TILES_X: u32 = (DW + PX - 1u) / PX;
const TILES_Y: u32 = (DH + PY - 1u) / PY;
const TILES: u32 = TILES_X * TILES_Y;
const C_BLOCKS: u32 = (SC + SUBGROUP_SIZE - 1u) / SUBGROUP_SIZE;
// Patches of 4 × 4 pixels along a row of a tile, in a tile, and in a step.
const PATCHES_X: u32 = PX / 4u;
const PATCHES: u32 = PATCHES_X * PY / 4u;
const ALL_PATCHES: u32 = IMAGES * PATCHES;
// A run is what a lane loads at a time: RUN patches in a row. The number of runs
// of a tile, the columns of one, and the runs of a lane in a step.
const RUN: u32 = select(1u, 2u, PX % 8u == 0u);
const RUNS: u32 = PATCHES / RUN;
const DY_COLS: u32 = 4u * RUN;
const LANE_RUNS: u32 = (ALL_PATCHES / RUN + SUBGROUP_SIZE - 1u) / SUBGROUP_SIZE;
const TAPS: u32 = 9u;
// Index of the first of the ninth taps in `partial`.
const NINTH_TAPS: u32 = 8u * WALKS * GROUPS * DC * SC;

@group(0) @binding(0) var<storage, read> source: array<Stored>;    // N, GROUPS·SC, SH, SW
@group(0) @binding(1) var<storage, read> source4: array<Stored4>;  // the same memory
@group(0) @binding(2) var<storage, read> dy: array<Stored>;   // N, GROUPS·DC, DH, DW
@group(0) @binding(3) var<storage, read> dy4: array<Stored4>; // the same memory
// WALKS, GROUPS·DC, SC of eight taps, then the same of the ninth tap.
@group(0) @binding(4) var<storage, read_write> partial: array<f32>;
@group(0) @binding(5) var<storage, read> source8: array<vec4<u64>>;  // the memory of `source`
@group(0) @binding(6) var<storage, read> dy8: array<vec4<u64>>; // the memory of `dy`
@group(0) @binding(7) var<storage, read_write> partial4: array<vec4f>; // the memory of `partial`
@group(0) @binding(8) var<storage, read_write> partial8: array<vec4<u64>>; // the same memory

// Six terms of four values of dy. The factors of those at ±NEAR and ±FAR are left
// to `taps_of`.
fn gradient_terms(a: f32, b: f32, c: f32, d: f32) -> array<f32, 6> {
    let near = a + 0.5 * c;
    let far = a + 2.0 * c;
    let near_odd = NEAR * (b + 0.5 * d);
    let far_odd = FAR * (b + 2.0 * d);
    return array<f32, 6>(a, near + near_odd, near - near_odd, far + far_odd, far - far_odd, d);
}

// Three taps from six sums of terms.
fn taps_of(a: f32, b: f32, c: f32, d: f32, e: f32, f: f32) -> vec3f {
    let near = (-2.0 / 3.0) * (b + c);
    let far = (1.0 / 6.0) * (d + e);
    return vec3f(
        a + near + far,
        (NEAR * -2.0 / 3.0) * (b - c) + (FAR / 6.0) * (d - e),
        0.5 * near + 2.0 * far + f);
}

// The values of dy that this lane loads: four rows of each of its runs.
fn shared_rows(channel: u32, tile: u32, lane: u32, n: u32, last: u32) -> array<array<f32, 4u * RUN>, 4u * LANE_RUNS> {
    var taken: array<array<f32, 4u * RUN>, 4u * LANE_RUNS>;
    for (var i = 0u; i < LANE_RUNS; i++) { // unroll
        let run = i * SUBGROUP_SIZE + lane;
        let image = n + run / RUNS;
        let ty = tile / TILES_X * PY + run % RUNS / (PATCHES_X / RUN) * 4u;
        let at = tile % TILES_X * PX + run % (PATCHES_X / RUN) * (4u * RUN);
        let plane = (min(image, last - 1u) * (GROUPS * DC) + channel) * (DH * DW);
        for (var r = 0u; r < 4u; r++) { // unroll
            let inside = image < last && ty + r < DH;
            let row = plane + min(ty + r, DH - 1u) * DW;
            taken[4u * i + r] = dy_row_load8(row, at, inside);
        }
    }
    return taken;
}

// The taps of a filter as the step before has left them.
fn taps_at(filter_at: u32) -> array<f32, TAPS> {
    var both: array<vec4f, 2>;
    if (SUMS_LOAD8) { // static
        both = load8(partial8[filter_at]);
    } else {
        both = array<vec4f, 2>(partial4[2u * filter_at], partial4[2u * filter_at + 1u]);
    }
    return array<f32, TAPS>(both[0].x, both[0].y, both[0].z, both[0].w,
                            both[1].x, both[1].y, both[1].z, both[1].w, partial[NINTH_TAPS + filter_at]);
}

// Grid: x, folded into z, over blocks of channels, so that blocks that read the
// same images follow each other while these are in a cache; y over walks.
@compute @workgroup_size(SUBGROUP_SIZE)
fn weight_gradient(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
               @builtin(subgroup_invocation_id) lane: u32) {
    let block = flat_workgroup_xz(group, groups);
    let batch = arrayLength(&source) / (GROUPS * SC * SH * SW);
    let first = group.y * WALK_IMAGES;
    if (first >= batch || block >= GROUPS * C_BLOCKS) {
        return;
    }
    let last = min(first + WALK_IMAGES, batch);
    let channel_group = block / C_BLOCKS;
    let c = block % C_BLOCKS * SUBGROUP_SIZE + lane;

    var terms: array<f32, ALL_PATCHES * TERMS>;
    for (var n = first; n < last; n += IMAGES) {
        for (var tile = 0u; tile < TILES; tile++) {
            let left = tile % TILES_X * PX;
            let above = tile / TILES_X * PY;
            for (var i = 0u; i < IMAGES; i++) { // unroll
                let plane = ((min(n + i, last - 1u) * GROUPS + channel_group) * SC + min(c, SC - 1u)) * (SH * SW);
                var rows: array<array<f32, 6>, ROWS * PATCHES_X>;
                for (var r = 0u; r < ROWS; r++) { // unroll
                    var row: array<f32, COLS>;
                    // Where a tile is the whole plane, nothing is above or below.
                    if (TILES_Y > 1u || (r >= PADDING && r - PADDING < SH)) { // static
                        row = columns_load8(plane, left, above + r - PADDING);
                    }
                    let row_of_terms = row_terms(row);
                    for (var p = 0u; p < PATCHES_X; p++) { // unroll
                        rows[r * PATCHES_X + p] = row_of_terms[p];
                    }
                }
                let of_image = patch_terms(rows);
                for (var j = 0u; j < PATCHES * TERMS; j++) { // unroll
                    terms[i * PATCHES * TERMS + j] = of_image[j];
                }
            }
            let begins = n == first && tile == 0u;
            for (var k = 0u; k < DC; k++) {
                // All loads come first: lavapipe makes each load a loop over the
                // lanes, and spills the values that live across it.
                let filter_at = ((FIRST_WALK + group.y) * (GROUPS * DC) + channel_group * DC + k) * SC + min(c, SC - 1u);
                let before = taps_at(filter_at);
                let taken = shared_rows(channel_group * DC + k, tile, lane, n, last);
                var shared_terms: array<f32, LANE_RUNS * RUN * TERMS>;
                for (var b = 0u; b < LANE_RUNS * RUN; b++) { // unroll
                    var rows: array<array<f32, 6>, 4>;
                    for (var r = 0u; r < 4u; r++) { // unroll
                        rows[r] = gradient_terms(
                            taken[b / RUN * 4u + r][b % RUN * 4u], taken[b / RUN * 4u + r][b % RUN * 4u + 1u],
                            taken[b / RUN * 4u + r][b % RUN * 4u + 2u], taken[b / RUN * 4u + r][b % RUN * 4u + 3u]);
                    }
                    for (var j = 0u; j < 6u; j++) { // unroll
                        let own = gradient_terms(rows[0][j], rows[1][j], rows[2][j], rows[3][j]);
                        for (var y = 0u; y < 6u; y++) { // unroll
                            shared_terms[b * TERMS + 6u * y + j] = own[y];
                        }
                    }
                }
                var rows: array<vec3f, 6>;
                for (var y = 0u; y < 6u; y++) { // unroll
                    var sums: array<f32, 6>;
                    for (var j = 0u; j < 6u; j++) { // unroll
                        // Patch b is in a run of lane b / RUN % SUBGROUP_SIZE.
                        sums[j] = terms[6u * y + j] * subgroupShuffle(shared_terms[6u * y + j], 0u);
                        for (var b = 1u; b < ALL_PATCHES; b++) { // unroll
                            sums[j] += terms[b * TERMS + 6u * y + j] * subgroupShuffle(
                                shared_terms[(b / (RUN * SUBGROUP_SIZE) * RUN + b % RUN) * TERMS + 6u * y + j],
                                b / RUN % SUBGROUP_SIZE);
                        }
                    }
                    rows[y] = taps_of(sums[0], sums[1], sums[2], sums[3], sums[4], sums[5]);
                }
                var taps: array<f32, TAPS>;
                for (var j = 0u; j < 3u; j++) { // unroll
                    let column = taps_of(rows[0][j], rows[1][j], rows[2][j], rows[3][j], rows[4][j], rows[5][j]);
                    taps[j] = column.x;
                    taps[3u + j] = column.y;
                    taps[6u + j] = column.z;
                }
                // End with `select`: lavapipe computes an addition again for each
                // lane in the loop that stores it.
                for (var j = 0u; j < TAPS; j++) { // unroll
                    taps[j] = select(before[j] + taps[j], taps[j], begins);
                }
                if (SC % SUBGROUP_SIZE == 0u || c < SC) {
                    partial4[2u * filter_at] = vec4f(taps[0], taps[1], taps[2], taps[3]);
                    partial4[2u * filter_at + 1u] = vec4f(taps[4], taps[5], taps[6], taps[7]);
                    partial[NINTH_TAPS + filter_at] = taps[8];
                }
            }
        }
    }
}
