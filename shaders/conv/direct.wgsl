// Convolution, and its input gradient, by register tiles.
//
// One invocation owns PX × PY pixels × KB channels of the destination. For one
// source channel at a time it loads the source pixels that the tile needs, then
// does all taps of a pixel and four destination channels together. Multiply-adds
// per load decide the speed, on processors far more than on GPUs, so the host
// chooses the size of the tile.
//
// Both directions are one scheme. Forward, tap (ky, kx) of destination pixel
// (y, x) reads source pixel (y·S + ky − P, x·S + kx − P). The input gradient is
// the transpose: it reads ((y + P − ky) / S, (x + P − kx) / S) where both divide
// without remainder, with source and destination channels of the weights
// exchanged. The origin of a tile is a multiple of S, so the taps that reach
// each pixel are known when loops are unrolled.

// import columns
// import flat_index
// import images
// import weight

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
// The tile.
const PX: u32 = 4u;
const PY: u32 = 2u;
const KB: u32 = 4u;
// Source pixels of a tile: INNER_X × INNER_Y of its own, and a halo of LEFT on the
// left and above, RIGHT on the right and below.
const LEFT: u32 = 1u;
const RIGHT: u32 = 1u;
const INNER_X: u32 = 4u;
const INNER_Y: u32 = 2u;
// Whether rows of source and destination are accessed as vec4.
const SOURCE_VEC4: bool = true;
const DEST_VEC4: bool = true;
// Whether `tile` goes through the rows of a large kernel in a loop, with one row of
// source pixels at a time: PY is 1, and TRANSPOSED is false.
const BY_ROWS: bool = false;
const WG: u32 = 64u;
// An element of source and destination in memory, and four elements.
alias Stored = f32;
alias Stored4 = vec4f;

const COLS: u32 = LEFT + INNER_X + RIGHT;
const ROWS: u32 = LEFT + INNER_Y + RIGHT;
const TILES_X: u32 = (DW + PX - 1u) / PX;
const TILES_Y: u32 = (DH + PY - 1u) / PY;
const KB4: u32 = KB / 4u;
const BLOCKS: u32 = (DC + KB - 1u) / KB;
const TAPS: u32 = KERNEL * KERNEL;
// Whether halos are loaded as shared/halo.wgsl does between two tiles.
const ONE_SIDED: bool = false;
// For Winograd: quads of 2 × 2 pixels in a tile, and source channels at a time.
const QUADS: u32 = PX * PY / 4u;
const CHANNELS: u32 = 1u;

@group(0) @binding(0) var<storage, read> source: array<Stored>;     // N, GROUPS·SC, SH, SW
@group(0) @binding(1) var<storage, read> source4: array<Stored4>;   // the same memory
@group(0) @binding(2) var<storage, read> weights4: array<vec4f>;     // GROUPS·BLOCKS, SC, TAPS, KB
@group(0) @binding(3) var<storage, read> bias: array<f32>;         // GROUPS·DC
@group(0) @binding(4) var<storage, read_write> dest: array<Stored>; // N, GROUPS·DC, DH, DW
@group(0) @binding(5) var<storage, read_write> dest4: array<Stored4>; // the same memory
@group(0) @binding(6) var<storage, read> weights: array<f32>;      // K, C / GROUPS, KERNEL, KERNEL
@group(0) @binding(7) var<storage, read_write> repacked: array<f32>; // as `weights4`

// The source pixels of one plane that are needed by the tile with the first
// own pixel (sx, sy); zero beyond the plane.
fn window(plane: u32, sx: u32, sy: u32) -> array<f32, ROWS * COLS> {
    var taken: array<f32, ROWS * COLS>;
    for (var r = 0u; r < ROWS; r++) { // unroll
        var row: array<f32, COLS>;
        // Where a tile is the whole plane, nothing is above or below.
        if (TILES_Y > 1u || (r >= LEFT && r < LEFT + SH)) { // static
            row = columns(plane, sx, sy + r - LEFT);
        }
        for (var j = 0u; j < COLS; j++) { // unroll
            taken[r * COLS + j] = row[j];
        }
    }
    return taken;
}

// Writes the pixels of a tile, KB channels from `first_channel` on.
fn write(acc: array<vec4f, PX * PY * KB4>, n: u32, channel_group: u32, first_channel: u32, tx: u32, ty: u32) {
    for (var k = 0u; k < KB; k++) { // unroll
        let channel = first_channel + k;
        if (DC % KB == 0u || channel < DC) {
            let plane = ((n * GROUPS + channel_group) * DC + channel) * (DH * DW);
            for (var py = 0u; py < PY; py++) { // unroll
                let y = ty * PY + py;
                if (DH % PY == 0u || y < DH) {
                    let row = plane + y * DW + tx * PX;
                    if (DEST_VEC4) { // static
                        for (var q = 0u; q < PX / 4u; q++) { // unroll
                            if (DW % PX == 0u || tx * PX + 4u * q < DW) {
                                dest4[row / 4u + q] = Stored4(vec4f(
                                    acc[(py * PX + 4u * q) * KB4 + k / 4u][k % 4u],
                                    acc[(py * PX + 4u * q + 1u) * KB4 + k / 4u][k % 4u],
                                    acc[(py * PX + 4u * q + 2u) * KB4 + k / 4u][k % 4u],
                                    acc[(py * PX + 4u * q + 3u) * KB4 + k / 4u][k % 4u]));
                            }
                        }
                    } else {
                        for (var px = 0u; px < PX; px++) { // unroll
                            if (DW % PX == 0u || tx * PX + px < DW) {
                                dest[row + px] = Stored(acc[(py * PX + px) * KB4 + k / 4u][k % 4u]);
                            }
                        }
                    }
                }
            }
        }
    }
}

// Grid: x, folded into z, over the tiles of all images; y over channel blocks.
@compute @workgroup_size(WG)
fn tile(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index_xz(group, groups, local);
    let tx = index % TILES_X;
    let ty = index / TILES_X % TILES_Y;
    let n = index / (TILES_X * TILES_Y);
    if (n >= images()) {
        return;
    }
    let block = group.y;
    let channel_group = block / BLOCKS;
    let first_channel = block % BLOCKS * KB;
    let sx = tx * INNER_X;
    let sy = ty * INNER_Y;

    var acc: array<vec4f, PX * PY * KB4>;
    if (BIAS) { // static
        for (var k = 0u; k < KB; k++) { // unroll
            let b = bias[channel_group * DC + min(first_channel + k, DC - 1u)];
            for (var p = 0u; p < PX * PY; p++) { // unroll
                acc[p * KB4 + k / 4u][k % 4u] = b;
            }
        }
    }

    for (var c = 0u; c < SC; c++) {
        if (BY_ROWS) { // static
            let plane = ((n * GROUPS + channel_group) * SC + c) * (SH * SW);
            for (var ky = 0u; ky < KERNEL; ky++) {
                let row = columns(plane, sx, sy + ky - LEFT);
                let first_weight = ((block * SC + c) * KERNEL + ky) * KERNEL * KB4;
                for (var kx = 0u; kx < KERNEL; kx++) { // unroll
                    for (var q = 0u; q < KB4; q++) { // unroll
                        let w = weights4[first_weight + kx * KB4 + q];
                        for (var px = 0u; px < PX; px++) { // unroll
                            acc[px * KB4 + q] += row[px * STRIDE + kx] * w;
                        }
                    }
                }
            }
        } else {
            let taken = window(((n * GROUPS + channel_group) * SC + c) * (SH * SW), sx, sy);
            let first_weight = (block * SC + c) * TAPS * KB4;
            for (var q = 0u; q < KB4; q++) { // unroll
                var w: array<vec4f, TAPS>;
                for (var tap = 0u; tap < TAPS; tap++) { // unroll
                    w[tap] = weights4[first_weight + tap * KB4 + q];
                }
                for (var py = 0u; py < PY; py++) { // unroll
                    for (var px = 0u; px < PX; px++) { // unroll
                        for (var ky = 0u; ky < KERNEL; ky++) { // unroll
                            for (var kx = 0u; kx < KERNEL; kx++) { // unroll
                                if (!TRANSPOSED) { // static
                                    acc[(py * PX + px) * KB4 + q] +=
                                        taken[(py * STRIDE + ky) * COLS + px * STRIDE + kx] * w[ky * KERNEL + kx];
                                }
                                if (TRANSPOSED && (py + PADDING - ky) % STRIDE == 0u && (px + PADDING - kx) % STRIDE == 0u) { // static
                                    acc[(py * PX + px) * KB4 + q] +=
                                        taken[((py + PADDING - ky) / STRIDE + LEFT) * COLS + (px + PADDING - kx) / STRIDE + LEFT]
                                        * w[ky * KERNEL + kx];
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    write(acc, n, channel_group, first_channel, tx, ty);
}

// The same for a 3×3 kernel at stride 1, by Winograd's minimal filtering,
// F(2×2, 3×3) (Lavin and Gray 2016): 16 products for four pixels instead of
// 36. PX and PY are even. CHANNELS source channels are taken at a time, so that a
// sum is read and written once for several products.
@compute @workgroup_size(WG)
fn winograd(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index_xz(group, groups, local);
    let tx = index % TILES_X;
    let ty = index / TILES_X % TILES_Y;
    let n = index / (TILES_X * TILES_Y);
    if (n >= images()) {
        return;
    }
    let block = group.y;
    let channel_group = block / BLOCKS;
    let first_channel = block % BLOCKS * KB;

    var sums: array<vec4f, QUADS * 16u * KB4>;
    for (var c = 0u; c < SC; c += CHANNELS) {
        // Bᵀ d B of every patch of 4 × 4 pixels, for each of the channels.
        var v: array<f32, CHANNELS * QUADS * 16u>;
        for (var i = 0u; i < CHANNELS; i++) { // unroll
            let taken = window(((n * GROUPS + channel_group) * SC + c + i) * (SH * SW), tx * PX, ty * PY);
            for (var qy = 0u; qy < PY / 2u; qy++) { // unroll
                var rows: array<f32, 4u * COLS>;
                for (var j = 0u; j < COLS; j++) { // unroll
                    rows[j] = taken[2u * qy * COLS + j] - taken[(2u * qy + 2u) * COLS + j];
                    rows[COLS + j] = taken[(2u * qy + 1u) * COLS + j] + taken[(2u * qy + 2u) * COLS + j];
                    rows[2u * COLS + j] = taken[(2u * qy + 2u) * COLS + j] - taken[(2u * qy + 1u) * COLS + j];
                    rows[3u * COLS + j] = taken[(2u * qy + 1u) * COLS + j] - taken[(2u * qy + 3u) * COLS + j];
                }
                for (var qx = 0u; qx < PX / 2u; qx++) { // unroll
                    for (var r = 0u; r < 4u; r++) { // unroll
                        v[((i * PY / 2u + qy) * PX / 2u + qx) * 16u + 4u * r] =
                            rows[r * COLS + 2u * qx] - rows[r * COLS + 2u * qx + 2u];
                        v[((i * PY / 2u + qy) * PX / 2u + qx) * 16u + 4u * r + 1u] =
                            rows[r * COLS + 2u * qx + 1u] + rows[r * COLS + 2u * qx + 2u];
                        v[((i * PY / 2u + qy) * PX / 2u + qx) * 16u + 4u * r + 2u] =
                            rows[r * COLS + 2u * qx + 2u] - rows[r * COLS + 2u * qx + 1u];
                        v[((i * PY / 2u + qy) * PX / 2u + qx) * 16u + 4u * r + 3u] =
                            rows[r * COLS + 2u * qx + 1u] - rows[r * COLS + 2u * qx + 3u];
                    }
                }
            }
        }
        for (var e = 0u; e < 16u; e++) { // unroll
            for (var q = 0u; q < KB4; q++) { // unroll
                var w: array<vec4f, CHANNELS>;
                for (var i = 0u; i < CHANNELS; i++) { // unroll
                    w[i] = weights4[((block * SC + c + i) * 16u + e) * KB4 + q];
                }
                for (var t = 0u; t < QUADS; t++) { // unroll
                    for (var i = 0u; i < CHANNELS; i++) { // unroll
                        sums[(t * 16u + e) * KB4 + q] += v[(i * QUADS + t) * 16u + e] * w[i];
                    }
                }
            }
        }
    }

    // Aᵀ m A: two by two pixels from each four by four sums.
    var acc: array<vec4f, PX * PY * KB4>;
    for (var qy = 0u; qy < PY / 2u; qy++) { // unroll
        for (var qx = 0u; qx < PX / 2u; qx++) { // unroll
            for (var q = 0u; q < KB4; q++) { // unroll
                var high: array<vec4f, 4>;
                var low: array<vec4f, 4>;
                for (var s = 0u; s < 4u; s++) { // unroll
                    let one = sums[((qy * PX / 2u + qx) * 16u + 4u + s) * KB4 + q];
                    let two = sums[((qy * PX / 2u + qx) * 16u + 8u + s) * KB4 + q];
                    high[s] = sums[((qy * PX / 2u + qx) * 16u + s) * KB4 + q] + one + two;
                    low[s] = one - two - sums[((qy * PX / 2u + qx) * 16u + 12u + s) * KB4 + q];
                }
                acc[(2u * qy * PX + 2u * qx) * KB4 + q] = high[0] + high[1] + high[2];
                acc[(2u * qy * PX + 2u * qx + 1u) * KB4 + q] = high[1] - high[2] - high[3];
                acc[((2u * qy + 1u) * PX + 2u * qx) * KB4 + q] = low[0] + low[1] + low[2];
                acc[((2u * qy + 1u) * PX + 2u * qx + 1u) * KB4 + q] = low[1] - low[2] - low[3];
            }
        }
    }
    if (BIAS) { // static
        for (var k = 0u; k < KB; k++) { // unroll
            let b = bias[channel_group * DC + min(first_channel + k, DC - 1u)];
            for (var p = 0u; p < PX * PY; p++) { // unroll
                acc[p * KB4 + k / 4u][k % 4u] += b;
            }
        }
    }
    write(acc, n, channel_group, first_channel, tx, ty);
}

// Packs weights for `tile`: for each block of KB destination channels, source
// channel and tap, the weights of the KB channels; zero beyond the last one.
// Grid: x, folded into y, over the packed weights.
@compute @workgroup_size(WG)
fn pack(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index >= GROUPS * BLOCKS * SC * TAPS * KB) {
        return;
    }
    let tap = index / KB % TAPS;
    let c = index / (KB * TAPS) % SC;
    let block = index / (KB * TAPS * SC);
    let channel = block % BLOCKS * KB + index % KB;
    repacked[index] = weight(block / BLOCKS, channel, c, tap);
}

// The same for `winograd`: 16 values G g Gᵀ instead of nine taps.
@compute @workgroup_size(WG)
fn pack_winograd(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                 @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index >= GROUPS * BLOCKS * SC * KB) {
        return;
    }
    let c = index / KB % SC;
    let block = index / (KB * SC);
    let channel = block % BLOCKS * KB + index % KB;
    var g: array<f32, 9>;
    for (var i = 0u; i < 9u; i++) { // unroll
        g[i] = weight(block / BLOCKS, channel, c, i);
    }
    var rows: array<f32, 12>;
    for (var j = 0u; j < 3u; j++) { // unroll
        rows[j] = g[j];
        rows[3u + j] = 0.5 * (g[j] + g[3u + j] + g[6u + j]);
        rows[6u + j] = 0.5 * (g[j] - g[3u + j] + g[6u + j]);
        rows[9u + j] = g[6u + j];
    }
    let first = (block * SC + c) * 16u * KB + index % KB;
    for (var r = 0u; r < 4u; r++) { // unroll
        repacked[first + 4u * r * KB] = rows[3u * r];
        repacked[first + (4u * r + 1u) * KB] = 0.5 * (rows[3u * r] + rows[3u * r + 1u] + rows[3u * r + 2u]);
        repacked[first + (4u * r + 2u) * KB] = 0.5 * (rows[3u * r] - rows[3u * r + 1u] + rows[3u * r + 2u]);
        repacked[first + (4u * r + 3u) * KB] = rows[3u * r + 2u];
    }
}
