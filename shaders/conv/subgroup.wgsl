// Convolution, and its input gradient, by register tiles that share halos and
// weights within a subgroup. For processors, where a subgroup is a vector.
//
// There a load from memory costs each lane ten times what a shuffle costs the
// whole subgroup. So no lane loads a pixel that another lane has: the tiles of
// a subgroup are neighbours in the image, LANES_X in a row and LANES_Y rows, and
// halos are shuffled. And no weight is loaded by every lane: the lanes load one
// row of weights together, and each weight is broadcast from its lane.
//
// The cost of a load depends on lanes and instructions, not on bytes. Where the driver has
// 64-bit integers, one load of four of them brings eight values (load8).
//
// `output_stationary` keeps the sums of KB destination channels in registers
// and loops over source channels, CHANNELS at a time. Per destination channel
// it does all taps of each pixel: the body fits into the instruction cache, and
// the weights of one kernel fit into registers. The sums are carried by the
// loop, which makes a processor's driver write them under a mask.
//
// `input_stationary` carries nothing in its loop. It holds the values of a
// block of CHANNELS source channels, which stay in the first-level cache, and
// loops over the destination channels. Sums of earlier blocks are read back
// from memory. It serves 1×1 and 7×7 kernels, and 3×3 kernels at stride 1 by Winograd's
// F(4×4, 3×3), where 16 pixels take 36 products per source channel instead of
// 144 (Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural
// Networks"). Products are summed as terms of the transform, in registers, and
// transformed back once per block.
//
// Directions and taps are those of `conv/direct.wgsl`.

// import flat_index
// import grid
// import images
// import source_row_load8
// import weight
// import winograd_6x6

// One group's channels, and the planes, of source and destination.
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
const TRANSPOSED: bool = false;
const BIAS: bool = false;
// For packing: `weight` in shared/weight.wgsl.
const EXCHANGED: bool = false;
const FLIPPED: bool = false;
// The tile: PX × PY pixels of KB destination channels, and the number of source
// channels at a time; for `output_stationary`, a divisor of SC. With WINOGRAD, PX
// and PY are multiples of four.
const PX: u32 = 4u;
const PY: u32 = 4u;
const KB: u32 = 8u;
const CHANNELS: u32 = 1u;
// Whether `input_stationary` uses Winograd's transform; else it goes tap by tap.
const WINOGRAD: bool = false;
// Destination channels whose sums are in registers at a time: KB in
// `output_stationary`, 1 in `input_stationary`.
const ACCUMULATORS: u32 = KB;
// Source pixels of a tile: INNER_X × INNER_Y of its own, and a halo of LEFT on
// the left and above, RIGHT on the right and below, at most as wide as a tile.
const LEFT: u32 = 1u;
const RIGHT: u32 = 1u;
const INNER_X: u32 = 4u;
const INNER_Y: u32 = 4u;
// Invocations of a subgroup, a power of two, and the number of lanes along a
// row of tiles: a divisor of SUBGROUP_SIZE, at least TILES_X.
const SUBGROUP_SIZE: u32 = 8u;
const LANES_X: u32 = 2u;
// Whether rows of source and destination are accessed as vec4, and whether rows
// of the source, and weights, are loaded by load8.
const SOURCE_VEC4: bool = true;
const DEST_VEC4: bool = true;
const SOURCE_LOAD8: bool = false;
const WEIGHTS_LOAD8: bool = false;
// Whether `input_stationary` has memory of its own for sums that are not
// complete, in 32 bits; else they stand in `dest`. And whether they are loaded
// by load8.
const F32_SUMS: bool = false;
const SUMS_LOAD8: bool = false;
// Whether the kernel also writes the moments of each destination channel, for a
// batch norm that follows, and the number of their chunks before this
// dispatch's. Tiles must divide the plane.
const MOMENTS: bool = false;
const FIRST_CHUNK: u32 = 0u;
// Binary logarithm of SUBGROUP_SIZE: shuffles until every lane has the moments
// of all lanes.
const EXCHANGES: u32 = 3u;
const WG: u32 = 32u;
// An element of source and destination in memory, and four elements.
alias Stored = f32;
alias Stored4 = vec4f;

const LANES_Y: u32 = SUBGROUP_SIZE / LANES_X;
const TILES_X: u32 = (DW + PX - 1u) / PX;
const TILES_Y: u32 = (DH + PY - 1u) / PY;
// Whether every image lies within one subgroup: then its halos do, too.
const WHOLE_IMAGES: bool = LANES_Y % TILES_Y == 0u;
const BLOCKS: u32 = (DC + KB - 1u) / KB;
const TAPS: u32 = KERNEL * KERNEL;
const ROWS: u32 = LEFT + INNER_Y + RIGHT;
const COLS: u32 = LEFT + INNER_X + RIGHT;
// Rows of a halo, above or below.
const HALO_ROWS: u32 = max(max(LEFT, RIGHT), 1u);
// Weights that a lane loads by one instruction.
const LOAD_WIDTH: u32 = select(4u, 8u, WEIGHTS_LOAD8);
// For `output_stationary`: weights of a block of destination channels for CHANNELS
// source channels, and the loads of a lane for its share of them.
const PACKED_WEIGHTS: u32 = KB * CHANNELS * TAPS;
const LANE_LOADS: u32 = (PACKED_WEIGHTS + LOAD_WIDTH * SUBGROUP_SIZE - 1u) / (LOAD_WIDTH * SUBGROUP_SIZE);
// For `input_stationary`: blocks of source channels; kernels that a lane loads per
// block; and how it loads them: VECTOR_LOADS of LOAD_WIDTH weights, then
// PAIR_LOADS of two. The packed weights of a block begin at a multiple of eight.
const SOURCE_BLOCKS: u32 = (SC + CHANNELS - 1u) / CHANNELS;
const LANE_KERNELS: u32 = (CHANNELS + SUBGROUP_SIZE - 1u) / SUBGROUP_SIZE;
const VECTOR_LOADS: u32 = (TAPS * LANE_KERNELS + select(3u, 0u, WEIGHTS_LOAD8)) / LOAD_WIDTH;
const PAIR_LOADS: u32 = select(0u, (TAPS * LANE_KERNELS % 8u + 1u) / 2u, WEIGHTS_LOAD8);
const BLOCK_WEIGHTS: u32 = ((VECTOR_LOADS * LOAD_WIDTH + PAIR_LOADS * 2u) * SUBGROUP_SIZE + 7u) / 8u * 8u;
// With WINOGRAD: patches of 4 × 4 pixels along a row of a tile, and in all of it.
const PATCHES_X: u32 = max(PX / 4u, 1u);
const PATCHES: u32 = max(PX * PY / 16u, 1u);
// For `input_stationary`: values per source channel of a tile, and per kernel.
const SOURCE_VALUES: u32 = select(ROWS * COLS, PATCHES * TERMS, WINOGRAD);
const KERNEL_VALUES: u32 = select(TAPS, TERMS, WINOGRAD);

@group(0) @binding(0) var<storage, read> source: array<Stored>;     // N, GROUPS·SC, SH, SW
@group(0) @binding(1) var<storage, read> source4: array<Stored4>;   // the same memory
@group(0) @binding(2) var<storage, read> weights4: array<vec4f>;   // GROUPS·BLOCKS, SC / CHANNELS, LANE_LOADS, SUBGROUP_SIZE, LOAD_WIDTH; or GROUPS·DC, SOURCE_BLOCKS, BLOCK_WEIGHTS
@group(0) @binding(3) var<storage, read> bias: array<f32>;         // GROUPS·DC
@group(0) @binding(4) var<storage, read_write> dest: array<Stored>; // N, GROUPS·DC, DH, DW
@group(0) @binding(5) var<storage, read_write> dest4: array<Stored4>; // the same memory
@group(0) @binding(6) var<storage, read> weights: array<f32>;      // K, C / GROUPS, KERNEL, KERNEL
@group(0) @binding(7) var<storage, read_write> repacked4: array<vec4f>; // as `weights4`
@group(0) @binding(8) var<storage, read_write> moments: array<vec4f>; // chunks, GROUPS·DC: count, mean, Σ(y−mean)²
@group(0) @binding(9) var<storage, read> source8: array<vec4<u64>>;  // the memory of `source`
@group(0) @binding(10) var<storage, read> weights8: array<vec4<u64>>; // the memory of `weights4`
@group(0) @binding(11) var<storage, read> weights2: array<u64>;      // the same
// The memory of `dest` unless F32_SUMS: an invocation reads the sums that it
// wrote itself for the block before.
@group(0) @binding(12) var<storage, read_write> sums: array<f32>;    // as `dest`
@group(0) @binding(13) var<storage, read_write> sums4: array<vec4f>; // the same memory
@group(0) @binding(14) var<storage, read_write> sums8: array<vec4<u64>>; // the same memory

// INNER_X pixels of row y from column x on; zero beyond the plane.
fn pixels(plane: u32, x: u32, y: u32) -> array<f32, INNER_X> {
    // A row above the plane wraps around to a large number: one comparison
    // finds both ends.
    return source_row_load8(plane + min(y, SH - 1u) * SW, x, y < SH);
}

// A row of a tile with its halo, which the lanes to the left and right have.
fn widened(own: array<f32, INNER_X>, lane: u32) -> array<f32, COLS> {
    var row: array<f32, COLS>;
    for (var j = 0u; j < INNER_X; j++) { // unroll
        row[LEFT + j] = own[j];
    }
    if (LANES_X > 1u) { // static
        for (var j = 0u; j < LEFT; j++) { // unroll
            let left = subgroupShuffle(own[INNER_X - LEFT + j], (lane + SUBGROUP_SIZE - 1u) % SUBGROUP_SIZE);
            row[j] = select(left, 0.0, lane % LANES_X == 0u);
        }
        for (var j = 0u; j < RIGHT; j++) { // unroll
            let right = subgroupShuffle(own[j], (lane + 1u) % SUBGROUP_SIZE);
            row[LEFT + INNER_X + j] = select(right, 0.0, lane % LANES_X == LANES_X - 1u);
        }
    }
    return row;
}

// The source pixels of one plane that the tile needs; zero beyond the plane.
fn window(plane: u32, tx: u32, ty: u32, lane: u32) -> array<f32, ROWS * COLS> {
    var taken: array<f32, ROWS * COLS>;
    for (var r = 0u; r < INNER_Y; r++) { // unroll
        let row = widened(pixels(plane, tx * INNER_X, ty * INNER_Y + r), lane);
        for (var j = 0u; j < COLS; j++) { // unroll
            taken[(LEFT + r) * COLS + j] = row[j];
        }
    }
    // The first row of tiles of the subgroup has no lane above it, the last row
    // none below it: these load that halo. With two or more rows, no lane needs
    // both.
    var above: array<f32, HALO_ROWS * COLS>;
    var below: array<f32, HALO_ROWS * COLS>;
    if (!WHOLE_IMAGES && LEFT > 0u) { // static
        for (var r = 0u; r < HALO_ROWS; r++) { // unroll
            let y = select(ty * INNER_Y + INNER_Y + r, ty * INNER_Y + r - LEFT, lane < LANES_X || RIGHT == 0u);
            let row = widened(pixels(plane, tx * INNER_X, y), lane);
            for (var j = 0u; j < COLS; j++) { // unroll
                above[r * COLS + j] = row[j];
            }
        }
        below = above;
    }
    if (!WHOLE_IMAGES && RIGHT > 0u && (LEFT == 0u || LANES_Y == 1u)) { // static
        for (var r = 0u; r < RIGHT; r++) { // unroll
            let row = widened(pixels(plane, tx * INNER_X, ty * INNER_Y + INNER_Y + r), lane);
            for (var j = 0u; j < COLS; j++) { // unroll
                below[r * COLS + j] = row[j];
            }
        }
    }
    for (var j = 0u; j < LEFT * COLS; j++) { // unroll
        taken[j] = above[j];
        if (LANES_Y > 1u) { // static
            let theirs = subgroupShuffle(taken[INNER_Y * COLS + j], (lane + SUBGROUP_SIZE - LANES_X) % SUBGROUP_SIZE);
            taken[j] = select(select(theirs, 0.0, ty == 0u), above[j], lane < LANES_X);
        }
    }
    for (var j = 0u; j < RIGHT * COLS; j++) { // unroll
        taken[(LEFT + INNER_Y) * COLS + j] = below[j];
        if (LANES_Y > 1u) { // static
            let theirs = subgroupShuffle(taken[LEFT * COLS + j], (lane + LANES_X) % SUBGROUP_SIZE);
            taken[(LEFT + INNER_Y) * COLS + j] =
                select(select(theirs, 0.0, ty == TILES_Y - 1u), below[j], lane >= SUBGROUP_SIZE - LANES_X);
        }
    }
    return taken;
}

// The terms of all patches of the tile.
fn winograd_terms(taken: array<f32, ROWS * COLS>) -> array<f32, PATCHES * TERMS> {
    var rows: array<array<f32, 6>, ROWS * PATCHES_X>;
    for (var r = 0u; r < ROWS; r++) { // unroll
        var row: array<f32, COLS>;
        for (var j = 0u; j < COLS; j++) { // unroll
            row[j] = taken[r * COLS + j];
        }
        let terms = row_terms(row);
        for (var p = 0u; p < PATCHES_X; p++) { // unroll
            rows[r * PATCHES_X + p] = terms[p];
        }
    }
    return patch_terms(rows);
}

// Where a plane of the destination begins.
fn plane_of(n: u32, channel: u32) -> u32 {
    return (n * (GROUPS * DC) + channel) * (DH * DW);
}

// Writes four pixels: to `dest`, or to the memory of F32_SUMS where their sums
// are not `done`.
fn put4(at: u32, v: vec4f, done: bool) {
    if (F32_SUMS) { // static
        if (done) {
            dest4[at] = Stored4(v);
        } else {
            sums4[at] = v;
        }
    } else {
        dest4[at] = Stored4(v);
    }
}

// The same for one pixel.
fn put(at: u32, v: f32, done: bool) {
    if (F32_SUMS) { // static
        if (done) {
            dest[at] = Stored(v);
        } else {
            sums[at] = v;
        }
    } else {
        dest[at] = Stored(v);
    }
}

// Writes the pixels of a tile to one plane: those of channel k in `acc`.
fn write(acc: ptr<function, array<f32, ACCUMULATORS * PX * PY>>, k: u32, plane: u32, tx: u32, ty: u32, done: bool) {
    for (var py = 0u; py < PY; py++) { // unroll
        let y = ty * PY + py;
        if (DH % PY == 0u || y < DH) {
            let row = plane + y * DW + tx * PX;
            if (DEST_VEC4) { // static
                for (var q = 0u; q < PX / 4u; q++) { // unroll
                    if (DW % PX == 0u || tx * PX + 4u * q < DW) {
                        put4(row / 4u + q, vec4f(
                            (*acc)[(k * PY + py) * PX + 4u * q], (*acc)[(k * PY + py) * PX + 4u * q + 1u],
                            (*acc)[(k * PY + py) * PX + 4u * q + 2u], (*acc)[(k * PY + py) * PX + 4u * q + 3u]), done);
                    }
                }
            } else {
                for (var px = 0u; px < PX; px++) { // unroll
                    if (DW % PX == 0u || tx * PX + px < DW) {
                        put(row + px, (*acc)[(k * PY + py) * PX + px], done);
                    }
                }
            }
        }
    }
}

// The sums that `write` left in a plane for the block before. Beyond the plane
// the values are arbitrary: they are never written.
fn earlier_sums(plane: u32, tx: u32, ty: u32) -> array<f32, ACCUMULATORS * PX * PY> {
    var left: array<f32, ACCUMULATORS * PX * PY>;
    for (var py = 0u; py < PY; py++) { // unroll
        let row = plane + min(ty * PY + py, DH - 1u) * DW;
        if (SUMS_LOAD8) { // static
            for (var q = 0u; q < PX / 8u; q++) { // unroll
                let both = load8(sums8[(row + min(tx * PX + 8u * q, DW - 8u)) / 8u]);
                for (var j = 0u; j < 8u; j++) { // unroll
                    left[py * PX + 8u * q + j] = both[j / 4u][j % 4u];
                }
            }
        }
        if (DEST_VEC4 && !SUMS_LOAD8) { // static
            for (var q = 0u; q < PX / 4u; q++) { // unroll
                let v = sums4[(row + min(tx * PX + 4u * q, DW - 4u)) / 4u];
                for (var j = 0u; j < 4u; j++) { // unroll
                    left[py * PX + 4u * q + j] = v[j];
                }
            }
        }
        if (!DEST_VEC4) { // static
            for (var px = 0u; px < PX; px++) { // unroll
                left[py * PX + px] = sums[row + min(tx * PX + px, DW - 1u)];
            }
        }
    }
    return left;
}

// Count, mean and sum of squared deviations of channel k over all tiles of the
// subgroup (Chan et al. 1979), the same in all lanes. `own` says whether this
// lane has a tile.
fn moments_of(acc: ptr<function, array<f32, ACCUMULATORS * PX * PY>>, k: u32, own: bool, lane: u32) -> vec3f {
    var sum = 0.0;
    for (var p = 0u; p < PX * PY; p++) { // unroll
        sum += (*acc)[k * PX * PY + p];
    }
    var mean = sum / f32(PX * PY);
    var squares = 0.0;
    for (var p = 0u; p < PX * PY; p++) { // unroll
        let d = (*acc)[k * PX * PY + p] - mean;
        squares += d * d;
    }
    var count = select(0.0, f32(PX * PY), own);
    squares = select(0.0, squares, own);
    for (var step = 0u; step < EXCHANGES; step++) { // unroll
        let other = lane ^ (1u << step);
        let others = subgroupShuffle(count, other);
        let delta = subgroupShuffle(mean, other) - mean;
        let share = others / max(count + others, 1.0);
        squares += subgroupShuffle(squares, other) + delta * delta * count * share;
        mean += delta * share;
        count += others;
    }
    return vec3f(count, mean, squares);
}

// Grid: x over blocks of destination channels, so that blocks that read the same
// source follow each other while it is in a cache; y, folded into z, over
// subgroups, each with LANES_Y rows of tiles.
@compute @workgroup_size(WG)
fn output_stationary(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
    let line = (flat_workgroup_yz(group, groups) * (WG / SUBGROUP_SIZE) + subgroup) * LANES_Y + lane / LANES_X;
    let tx = lane % LANES_X;
    let ty = line % TILES_Y;
    // Lanes without a tile compute as well, because their neighbours shuffle with them.
    let n = min(line / TILES_Y, images() - 1u);
    let channel_group = group.x / BLOCKS;
    let first_channel = group.x % BLOCKS * KB;

    var acc: array<f32, ACCUMULATORS * PX * PY>;
    if (BIAS) { // static
        for (var k = 0u; k < KB; k++) { // unroll
            let b = bias[channel_group * DC + min(first_channel + k, DC - 1u)];
            for (var p = 0u; p < PX * PY; p++) { // unroll
                acc[k * PX * PY + p] = b;
            }
        }
    }

    for (var c = 0u; c < SC; c += CHANNELS) {
        var taken: array<f32, CHANNELS * ROWS * COLS>;
        for (var i = 0u; i < CHANNELS; i++) { // unroll
            let own = window(((n * GROUPS + channel_group) * SC + c + i) * (SH * SW), tx, ty, lane);
            for (var j = 0u; j < ROWS * COLS; j++) { // unroll
                taken[i * ROWS * COLS + j] = own[j];
            }
        }
        // This lane's share of the weights.
        var share: array<vec4f, LANE_LOADS * LOAD_WIDTH / 4u>;
        for (var i = 0u; i < LANE_LOADS; i++) { // unroll
            let at = ((group.x * (SC / CHANNELS) + c / CHANNELS) * LANE_LOADS + i) * SUBGROUP_SIZE + lane;
            if (WEIGHTS_LOAD8) { // static
                let both = load8(weights8[at]);
                share[2u * i] = both[0];
                share[2u * i + 1u] = both[1];
            } else {
                share[i] = weights4[at];
            }
        }
        for (var k = 0u; k < KB; k++) { // unroll
            var w: array<f32, CHANNELS * TAPS>;
            for (var i = 0u; i < CHANNELS * TAPS; i++) { // unroll
                w[i] = subgroupShuffle(
                    share[(k * CHANNELS * TAPS + i) / (LOAD_WIDTH * SUBGROUP_SIZE) * (LOAD_WIDTH / 4u)
                        + (k * CHANNELS * TAPS + i) % LOAD_WIDTH / 4u][(k * CHANNELS * TAPS + i) % 4u],
                    (k * CHANNELS * TAPS + i) / LOAD_WIDTH % SUBGROUP_SIZE);
            }
            for (var py = 0u; py < PY; py++) { // unroll
                for (var px = 0u; px < PX; px++) { // unroll
                    for (var i = 0u; i < CHANNELS; i++) { // unroll
                        for (var ky = 0u; ky < KERNEL; ky++) { // unroll
                            for (var kx = 0u; kx < KERNEL; kx++) { // unroll
                                if (!TRANSPOSED) { // static
                                    acc[(k * PY + py) * PX + px] +=
                                        taken[(i * ROWS + py * STRIDE + ky) * COLS + px * STRIDE + kx]
                                        * w[(i * KERNEL + ky) * KERNEL + kx];
                                }
                                if (TRANSPOSED && (py + PADDING - ky) % STRIDE == 0u && (px + PADDING - kx) % STRIDE == 0u) { // static
                                    acc[(k * PY + py) * PX + px] +=
                                        taken[(i * ROWS + (py + PADDING - ky) / STRIDE + LEFT) * COLS + (px + PADDING - kx) / STRIDE + LEFT]
                                        * w[(i * KERNEL + ky) * KERNEL + kx];
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    let own = line / TILES_Y == n && tx < TILES_X;
    if (own) {
        for (var k = 0u; k < KB; k++) { // unroll
            if (DC % KB == 0u || first_channel + k < DC) {
                write(&acc, k, plane_of(n, channel_group * DC + first_channel + k), tx, ty, true);
            }
        }
    }
    if (MOMENTS) { // static
        let chunk = FIRST_CHUNK + flat_workgroup_yz(group, groups) * (WG / SUBGROUP_SIZE) + subgroup;
        // Each lane writes the moments of another channel.
        for (var round = 0u; round < (KB + SUBGROUP_SIZE - 1u) / SUBGROUP_SIZE; round++) { // unroll
            var mine = vec3f();
            for (var k = round * SUBGROUP_SIZE; k < min(KB, round * SUBGROUP_SIZE + SUBGROUP_SIZE); k++) { // unroll
                mine = select(mine, moments_of(&acc, k, own, lane), lane == k % SUBGROUP_SIZE);
            }
            let k = round * SUBGROUP_SIZE + lane;
            if (k < KB && first_channel + k < DC) {
                moments[chunk * (GROUPS * DC) + channel_group * DC + first_channel + k] = vec4f(mine, 0.0);
            }
        }
    }
}

// Six terms of three weights.
fn kernel_terms(a: f32, b: f32, c: f32) -> array<f32, 6> {
    let near = (-2.0 / 3.0) * (a + 0.5 * c);
    let far = (1.0 / 6.0) * (a + 2.0 * c);
    let near_odd = (NEAR * -2.0 / 3.0) * b;
    let far_odd = (FAR / 6.0) * b;
    return array<f32, 6>(a, near + near_odd, near - near_odd, far + far_odd, far - far_odd, c);
}

// The lane's kernels of a block, whose weights begin at `first`. With WINOGRAD
// they are transformed: that is cheaper than to load 36 terms.
fn kernels(first: u32, lane: u32) -> array<f32, KERNEL_VALUES * LANE_KERNELS> {
    var w: array<f32, VECTOR_LOADS * LOAD_WIDTH + 2u * PAIR_LOADS>;
    for (var i = 0u; i < VECTOR_LOADS; i++) { // unroll
        if (WEIGHTS_LOAD8) { // static
            let both = load8(weights8[first / 8u + i * SUBGROUP_SIZE + lane]);
            for (var j = 0u; j < 8u; j++) { // unroll
                w[8u * i + j] = both[j / 4u][j % 4u];
            }
        } else {
            let four = weights4[first / 4u + i * SUBGROUP_SIZE + lane];
            for (var j = 0u; j < 4u; j++) { // unroll
                w[4u * i + j] = four[j];
            }
        }
    }
    for (var i = 0u; i < PAIR_LOADS; i++) { // unroll
        let pair = weights2[first / 2u + (VECTOR_LOADS * 4u + i) * SUBGROUP_SIZE + lane];
        w[8u * VECTOR_LOADS + 2u * i] = bitcast<f32>(u32(pair));
        w[8u * VECTOR_LOADS + 2u * i + 1u] = bitcast<f32>(u32(pair >> 32u));
    }
    var all: array<f32, KERNEL_VALUES * LANE_KERNELS>;
    for (var i = 0u; i < LANE_KERNELS; i++) { // unroll
        if (WINOGRAD) { // static
            var rows: array<array<f32, 6>, 3>;
            for (var r = 0u; r < 3u; r++) { // unroll
                rows[r] = kernel_terms(w[9u * i + 3u * r], w[9u * i + 3u * r + 1u], w[9u * i + 3u * r + 2u]);
            }
            for (var j = 0u; j < 6u; j++) { // unroll
                let column = kernel_terms(rows[0][j], rows[1][j], rows[2][j]);
                for (var y = 0u; y < 6u; y++) { // unroll
                    all[i * TERMS + 6u * y + j] = column[y];
                }
            }
        } else {
            for (var j = 0u; j < TAPS; j++) { // unroll
                all[i * TAPS + j] = w[i * TAPS + j];
            }
        }
    }
    return all;
}

// Four pixels from six sums of terms.
fn pixels_of(a: f32, b: f32, c: f32, d: f32, e: f32, f: f32) -> vec4f {
    let near = b + c;
    let far = d + e;
    let near_odd = NEAR * (b - c);
    let far_odd = FAR * (d - e);
    return vec4f(a + near + far, near_odd + far_odd, 0.5 * near + 2.0 * far, 0.5 * near_odd + 2.0 * far_odd + f);
}

// The pixels of a tile for one destination channel, by Winograd's transform: the
// products of the terms of all patches and source channels with those of their
// kernels, summed, one row of terms after the other, and transformed back.
fn winograd_sums(patches: ptr<function, array<f32, CHANNELS * SOURCE_VALUES>>,
            own: ptr<function, array<f32, KERNEL_VALUES * LANE_KERNELS>>) -> array<f32, ACCUMULATORS * PX * PY> {
    var rows: array<vec4f, 6u * PATCHES>;
    for (var r = 0u; r < 6u; r++) { // unroll
        var products: array<array<f32, 6>, PATCHES>;
        for (var i = 0u; i < CHANNELS; i++) { // unroll
            for (var j = 0u; j < 6u; j++) { // unroll
                let w = subgroupShuffle((*own)[i / SUBGROUP_SIZE * TERMS + 6u * r + j], i % SUBGROUP_SIZE);
                for (var p = 0u; p < PATCHES; p++) { // unroll
                    if (i == 0u) { // static
                        products[p][j] = (*patches)[p * TERMS + 6u * r + j] * w;
                    } else {
                        products[p][j] += (*patches)[(i * PATCHES + p) * TERMS + 6u * r + j] * w;
                    }
                }
            }
        }
        for (var p = 0u; p < PATCHES; p++) { // unroll
            rows[r * PATCHES + p] = pixels_of(products[p][0], products[p][1], products[p][2],
                                              products[p][3], products[p][4], products[p][5]);
        }
    }
    var pixels: array<f32, ACCUMULATORS * PX * PY>;
    for (var p = 0u; p < PATCHES; p++) { // unroll
        for (var j = 0u; j < 4u; j++) { // unroll
            let column = pixels_of(
                rows[p][j], rows[PATCHES + p][j], rows[2u * PATCHES + p][j],
                rows[3u * PATCHES + p][j], rows[4u * PATCHES + p][j], rows[5u * PATCHES + p][j]);
            for (var y = 0u; y < 4u; y++) { // unroll
                pixels[(p / PATCHES_X * 4u + y) * PX + p % PATCHES_X * 4u + j] = column[y];
            }
        }
    }
    return pixels;
}

// The same tap by tap.
fn tap_sums(pixels: ptr<function, array<f32, CHANNELS * SOURCE_VALUES>>,
          own: ptr<function, array<f32, KERNEL_VALUES * LANE_KERNELS>>) -> array<f32, ACCUMULATORS * PX * PY> {
    var acc: array<f32, ACCUMULATORS * PX * PY>;
    for (var i = 0u; i < CHANNELS; i++) { // unroll
        for (var ky = 0u; ky < KERNEL; ky++) { // unroll
            for (var kx = 0u; kx < KERNEL; kx++) { // unroll
                let w = subgroupShuffle((*own)[i / SUBGROUP_SIZE * TAPS + ky * KERNEL + kx], i % SUBGROUP_SIZE);
                for (var py = 0u; py < PY; py++) { // unroll
                    for (var px = 0u; px < PX; px++) { // unroll
                        acc[py * PX + px] +=
                            w * (*pixels)[i * SOURCE_VALUES + (py * STRIDE + ky) * COLS + px * STRIDE + kx];
                    }
                }
            }
        }
    }
    return acc;
}

// Grid: as for `output_stationary`.
@compute @workgroup_size(WG)
fn input_stationary(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
         @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
    let place = flat_workgroup_yz(group, groups) * (WG / SUBGROUP_SIZE) + subgroup;
    let line = place * LANES_Y + lane / LANES_X;
    let tx = lane % LANES_X;
    let ty = line % TILES_Y;
    // Lanes without a tile compute as well, because their neighbours shuffle with them.
    let n = min(line / TILES_Y, images() - 1u);
    let own = line / TILES_Y == n && tx < TILES_X;
    let channel_group = group.x / BLOCKS;
    let first_channel = group.x % BLOCKS * KB;

    for (var block = 0u; block < SOURCE_BLOCKS; block++) {
        var held: array<f32, CHANNELS * SOURCE_VALUES>;
        for (var i = 0u; i < CHANNELS; i++) { // unroll
            // Kernels of channels after the last one are zero.
            let c = min(block * CHANNELS + i, SC - 1u);
            let taken = window(((n * GROUPS + channel_group) * SC + c) * (SH * SW), tx, ty, lane);
            if (WINOGRAD) { // static
                let terms = winograd_terms(taken);
                for (var j = 0u; j < SOURCE_VALUES; j++) { // unroll
                    held[i * SOURCE_VALUES + j] = terms[j];
                }
            } else {
                for (var j = 0u; j < SOURCE_VALUES; j++) { // unroll
                    held[i * SOURCE_VALUES + j] = taken[j];
                }
            }
        }
        for (var k = first_channel; k < min(first_channel + KB, DC); k++) {
            let channel = channel_group * DC + k;
            let plane = plane_of(n, channel);
            // All loads come first: lavapipe makes each load a loop over the
            // lanes, and spills the values that live across it.
            var left: array<f32, ACCUMULATORS * PX * PY>;
            if (SOURCE_BLOCKS > 1u) { // static
                left = earlier_sums(plane, tx, ty);
            }
            var shares = kernels((channel * SOURCE_BLOCKS + block) * BLOCK_WEIGHTS, lane);
            var acc: array<f32, ACCUMULATORS * PX * PY>;
            if (WINOGRAD) { // static
                acc = winograd_sums(&held, &shares);
            } else {
                acc = tap_sums(&held, &shares);
            }
            if (BIAS) { // static
                let b = select(0.0, bias[channel], block == 0u);
                for (var p = 0u; p < PX * PY; p++) { // unroll
                    acc[p] += b;
                }
            }
            if (SOURCE_BLOCKS > 1u) { // static
                // End with `select`: lavapipe computes an addition again for each
                // lane in the loop that stores it.
                for (var p = 0u; p < PX * PY; p++) { // unroll
                    acc[p] = select(left[p] + acc[p], acc[p], block == 0u);
                }
            }
            let done = block == SOURCE_BLOCKS - 1u;
            if (own) {
                write(&acc, 0u, plane, tx, ty, done);
            }
            if (MOMENTS) { // static
                let mine = moments_of(&acc, 0u, own, lane);
                if (done && lane == 0u) {
                    moments[(FIRST_CHUNK + place) * (GROUPS * DC) + channel] = vec4f(mine, 0.0);
                }
            }
        }
    }
}

// Packs weights for `output_stationary`, four per invocation: for each block of
// KB destination channels and CHANNELS source channels, the kernels of one
// destination channel after the other.
// Grid: x, folded into y, over the packed weights / 4.
@compute @workgroup_size(WG)
fn pack_output_stationary(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    let block_vectors = LANE_LOADS * SUBGROUP_SIZE * LOAD_WIDTH / 4u;
    let c = index / block_vectors % (SC / CHANNELS) * CHANNELS;
    let block = index / (block_vectors * (SC / CHANNELS));
    if (block >= GROUPS * BLOCKS) {
        return;
    }
    var four: vec4f;
    for (var j = 0u; j < 4u; j++) { // unroll
        let place = index % block_vectors * 4u + j;
        let k = block % BLOCKS * KB + place / (CHANNELS * TAPS);
        four[j] = weight(block / BLOCKS, k, c + place / TAPS % CHANNELS, place % TAPS);
    }
    repacked4[index] = four;
}

// Packs weights for `input_stationary`, four per invocation: for each destination
// channel and block of source channels, the kernels of each lane. The channels of
// a lane are SUBGROUP_SIZE apart.
// Grid: x, folded into y, over the packed weights / 4.
@compute @workgroup_size(WG)
fn pack_input_stationary(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
              @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    let block = index / (BLOCK_WEIGHTS / 4u) % SOURCE_BLOCKS;
    let channel = index / (BLOCK_WEIGHTS / 4u * SOURCE_BLOCKS);
    if (channel >= GROUPS * DC) {
        return;
    }
    var four: vec4f;
    for (var j = 0u; j < 4u; j++) { // unroll
        let place = index % (BLOCK_WEIGHTS / 4u) * 4u + j;
        var lane = place / LOAD_WIDTH % SUBGROUP_SIZE;
        var value = place / (LOAD_WIDTH * SUBGROUP_SIZE) * LOAD_WIDTH + place % LOAD_WIDTH;
        if (place >= VECTOR_LOADS * LOAD_WIDTH * SUBGROUP_SIZE) {
            let rest = place - VECTOR_LOADS * LOAD_WIDTH * SUBGROUP_SIZE;
            lane = rest / 2u % SUBGROUP_SIZE;
            value = VECTOR_LOADS * LOAD_WIDTH + rest / (2u * SUBGROUP_SIZE) * 2u + rest % 2u;
        }
        let i = value / TAPS * SUBGROUP_SIZE + lane;
        let there = value < TAPS * LANE_KERNELS && i < CHANNELS;
        let c = block * CHANNELS + i;
        four[j] = select(0.0, weight(channel / DC, channel % DC, c, value % TAPS), there);
    }
    repacked4[index] = four;
}
