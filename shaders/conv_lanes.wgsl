// A 3×3 convolution at stride 1 with padding 1, and its gradient by the
// input, by register tiles whose neighbours lie in one subgroup.
//
// Where a subgroup is a processor's vector, a load of memory costs each lane
// ten times what an exchange between lanes costs all of them. So no pixel is
// loaded twice that a neighbour has: the lanes hold tiles that are side by
// side in rows of ACROSS, and below one another, and halos are shuffled. And
// no weight is loaded by every lane: together they load a row of them, and
// each weight is broadcast from the lane that has it.
//
// A tile takes one source channel at a time, and of it one destination
// channel after the other, nine taps for each pixel: the body fits into the
// instruction cache, and the nine weights into registers.

// One group's channels, and the plane.
const SC: u32 = 4u;
const DC: u32 = 4u;
const H: u32 = 8u;
const W: u32 = 8u;
const GROUPS: u32 = 1u;
const BIAS: bool = false;
// For packing: whether source and destination channels are exchanged, as in
// every gradient, and whether taps are in reverse order.
const EXCHANGED: bool = false;
const FLIPPED: bool = false;
// The tile: PX × PY pixels of KB destination channels.
const PX: u32 = 4u;
const PY: u32 = 4u;
const KB: u32 = 8u;
// Invocations in a subgroup, a power of two, and how many of them lie along a
// row of tiles: a divisor of LANES, and at least TILES_X.
const LANES: u32 = 8u;
const ACROSS: u32 = 2u;
// Whether rows are read and written by fours.
const FOURS: bool = true;
const WG: u32 = 32u;

const DOWN: u32 = LANES / ACROSS;
const TILES_X: u32 = (W + PX - 1u) / PX;
const TILES_Y: u32 = (H + PY - 1u) / PY;
// Whether every image lies in one subgroup: then so do all its halos.
const WHOLE: bool = DOWN % TILES_Y == 0u;
const BLOCKS: u32 = (DC + KB - 1u) / KB;
const TAPS: u32 = 9u;
const ROWS: u32 = PY + 2u;
const COLS: u32 = PX + 2u;
// Fours of weights that a lane loads for one source channel.
const CHUNKS: u32 = (KB * TAPS + 4u * LANES - 1u) / (4u * LANES);

@group(0) @binding(0) var<storage, read> source: array<f32>;       // N, GROUPS·SC, H, W
@group(0) @binding(1) var<storage, read> source4: array<vec4f>;    // the same memory
@group(0) @binding(2) var<storage, read> weights4: array<vec4f>;   // GROUPS·BLOCKS, SC, CHUNKS, LANES
@group(0) @binding(3) var<storage, read> bias: array<f32>;         // GROUPS·DC
@group(0) @binding(4) var<storage, read_write> dest: array<f32>;   // N, GROUPS·DC, H, W
@group(0) @binding(5) var<storage, read_write> dest4: array<vec4f>; // the same memory
@group(0) @binding(6) var<storage, read> weights: array<f32>;      // K, C / GROUPS, 3, 3
@group(0) @binding(7) var<storage, read_write> repacked: array<f32>; // as `weights4`

// PX pixels of row y from column x on; zero beyond the plane.
fn pixels(plane: u32, x: u32, y: u32) -> array<f32, PX> {
    var taken: array<f32, PX>;
    // Below zero wraps round: one comparison finds both ends.
    let inside = y < H;
    let row = plane + min(y, H - 1u) * W;
    if (FOURS) { // static
        for (var q = 0u; q < PX / 4u; q++) { // unroll
            let v = select(vec4f(), source4[(row + min(x + 4u * q, W - 4u)) / 4u], inside && x + 4u * q < W);
            taken[4u * q] = v.x;
            taken[4u * q + 1u] = v.y;
            taken[4u * q + 2u] = v.z;
            taken[4u * q + 3u] = v.w;
        }
    } else {
        for (var j = 0u; j < PX; j++) { // unroll
            taken[j] = select(0.0, source[row + min(x + j, W - 1u)], inside && x + j < W);
        }
    }
    return taken;
}

// A row of a tile with the halo on its sides, which the lanes left and right
// of this one have.
fn widened(own: array<f32, PX>, lane: u32) -> array<f32, COLS> {
    var row: array<f32, COLS>;
    for (var j = 0u; j < PX; j++) { // unroll
        row[j + 1u] = own[j];
    }
    if (ACROSS > 1u) { // static
        let left = subgroupShuffle(own[PX - 1u], (lane + LANES - 1u) % LANES);
        let right = subgroupShuffle(own[0], (lane + 1u) % LANES);
        row[0] = select(left, 0.0, lane % ACROSS == 0u);
        row[PX + 1u] = select(right, 0.0, lane % ACROSS == ACROSS - 1u);
    }
    return row;
}

// The source pixels of one plane that the tile needs; zero beyond the plane.
fn window(plane: u32, tx: u32, ty: u32, lane: u32) -> array<f32, ROWS * COLS> {
    var taken: array<f32, ROWS * COLS>;
    for (var r = 0u; r < PY; r++) { // unroll
        let row = widened(pixels(plane, tx * PX, ty * PY + r), lane);
        for (var j = 0u; j < COLS; j++) { // unroll
            taken[(r + 1u) * COLS + j] = row[j];
        }
    }
    if (DOWN == 1u) { // static
        let above = widened(pixels(plane, tx * PX, ty * PY - 1u), lane);
        let below = widened(pixels(plane, tx * PX, ty * PY + PY), lane);
        for (var j = 0u; j < COLS; j++) { // unroll
            taken[j] = above[j];
            taken[(PY + 1u) * COLS + j] = below[j];
        }
    } else {
        // The subgroup's first row of tiles lacks what is above it, the last
        // one what is below: no lane lacks both.
        var lacking: array<f32, COLS>;
        if (!WHOLE) { // static
            let y = select(ty * PY + PY, ty * PY - 1u, lane < ACROSS);
            lacking = widened(pixels(plane, tx * PX, y), lane);
        }
        for (var j = 0u; j < COLS; j++) { // unroll
            let above = subgroupShuffle(taken[PY * COLS + j], (lane + LANES - ACROSS) % LANES);
            let below = subgroupShuffle(taken[COLS + j], (lane + ACROSS) % LANES);
            taken[j] = select(select(above, lacking[j], lane < ACROSS), 0.0, ty == 0u);
            taken[(PY + 1u) * COLS + j] =
                select(select(below, lacking[j], lane >= LANES - ACROSS), 0.0, ty == TILES_Y - 1u);
        }
    }
    return taken;
}

// Writes a tile's pixels, KB channels from `first_channel` on.
fn write(acc: array<f32, KB * PX * PY>, n: u32, channel_group: u32, first_channel: u32, tx: u32, ty: u32) {
    for (var k = 0u; k < KB; k++) { // unroll
        let channel = first_channel + k;
        if (DC % KB == 0u || channel < DC) {
            let plane = ((n * GROUPS + channel_group) * DC + channel) * (H * W);
            for (var py = 0u; py < PY; py++) { // unroll
                let y = ty * PY + py;
                if (H % PY == 0u || y < H) {
                    let row = plane + y * W + tx * PX;
                    if (FOURS) { // static
                        for (var q = 0u; q < PX / 4u; q++) { // unroll
                            if (W % PX == 0u || tx * PX + 4u * q < W) {
                                dest4[row / 4u + q] = vec4f(
                                    acc[(k * PY + py) * PX + 4u * q], acc[(k * PY + py) * PX + 4u * q + 1u],
                                    acc[(k * PY + py) * PX + 4u * q + 2u], acc[(k * PY + py) * PX + 4u * q + 3u]);
                            }
                        }
                    } else {
                        for (var px = 0u; px < PX; px++) { // unroll
                            if (W % PX == 0u || tx * PX + px < W) {
                                dest[row + px] = acc[(k * PY + py) * PX + px];
                            }
                        }
                    }
                }
            }
        }
    }
}

// Images of this dispatch.
fn images() -> u32 {
    if (FOURS) { // static
        return arrayLength(&dest4) / (GROUPS * DC * H * W / 4u);
    } else {
        return arrayLength(&dest) / (GROUPS * DC * H * W);
    }
}

// Grid: x, folded into z, over subgroups, each with DOWN rows of tiles; y over
// blocks of channels.
@compute @workgroup_size(WG)
fn tile(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
    let line = ((group.z * groups.x + group.x) * (WG / LANES) + subgroup) * DOWN + lane / ACROSS;
    let tx = lane % ACROSS;
    let ty = line % TILES_Y;
    // Lanes without a tile go along: their neighbours exchange with them.
    let n = min(line / TILES_Y, images() - 1u);
    let channel_group = group.y / BLOCKS;
    let first_channel = group.y % BLOCKS * KB;

    var acc: array<f32, KB * PX * PY>;
    if (BIAS) { // static
        for (var k = 0u; k < KB; k++) { // unroll
            let b = bias[channel_group * DC + min(first_channel + k, DC - 1u)];
            for (var p = 0u; p < PX * PY; p++) { // unroll
                acc[k * PX * PY + p] = b;
            }
        }
    }

    for (var c = 0u; c < SC; c++) {
        let taken = window(((n * GROUPS + channel_group) * SC + c) * (H * W), tx, ty, lane);
        var packed: array<vec4f, CHUNKS>;
        for (var i = 0u; i < CHUNKS; i++) { // unroll
            packed[i] = weights4[((group.y * SC + c) * CHUNKS + i) * LANES + lane];
        }
        for (var k = 0u; k < KB; k++) { // unroll
            var w: array<f32, TAPS>;
            for (var tap = 0u; tap < TAPS; tap++) { // unroll
                w[tap] = subgroupShuffle(
                    packed[(k * TAPS + tap) / (4u * LANES)][(k * TAPS + tap) % 4u], (k * TAPS + tap) / 4u % LANES);
            }
            for (var py = 0u; py < PY; py++) { // unroll
                for (var px = 0u; px < PX; px++) { // unroll
                    for (var ky = 0u; ky < 3u; ky++) { // unroll
                        for (var kx = 0u; kx < 3u; kx++) { // unroll
                            acc[(k * PY + py) * PX + px] += taken[(py + ky) * COLS + px + kx] * w[ky * 3u + kx];
                        }
                    }
                }
            }
        }
    }

    if (line / TILES_Y == n && tx < TILES_X) {
        write(acc, n, channel_group, first_channel, tx, ty);
    }
}

// Lays weights out as `tile` reads them: for each block of KB destination
// channels and source channel, nine taps of KB channels; zero beyond the last
// channel, and between the last weight and the end of its chunk.
@compute @workgroup_size(WG)
fn pack(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_id) local: vec3u) {
    let index = (group.y * groups.x + group.x) * WG + local.x;
    let place = index % (4u * CHUNKS * LANES);
    let c = index / (4u * CHUNKS * LANES) % SC;
    let block = index / (4u * CHUNKS * LANES * SC);
    if (block >= GROUPS * BLOCKS) {
        return;
    }
    let channel = block % BLOCKS * KB + place / TAPS;
    let tap = select(place % TAPS, TAPS - 1u - place % TAPS, FLIPPED);
    var value = 0.0;
    if (place < KB * TAPS && channel < DC) {
        if (EXCHANGED) {
            value = weights[((block / BLOCKS * SC + c) * DC + channel) * TAPS + tap];
        } else {
            value = weights[((block / BLOCKS * DC + channel) * SC + c) * TAPS + tap];
        }
    }
    repacked[index] = value;
}
