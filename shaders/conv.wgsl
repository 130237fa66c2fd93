// Convolution, and its gradient by the input, by register tiles.
//
// One invocation owns PX × PY pixels × KB channels of the destination. For
// one source channel at a time it loads the patch of source pixels that the
// tile needs, then finishes all taps of a pixel and four channels together:
// multiply-adds per load are what counts, on processors far more than on
// GPUs, so the tile's size is the host's choice.
//
// Both directions are one scheme. Forward, tap (ky, kx) of destination pixel
// (y, x) reads source pixel (y·S + ky − P, x·S + kx − P). The gradient by the
// input is the transpose: it reads ((y + P − ky) / S, (x + P − kx) / S) where
// both divide without remainder, and takes weights with the channels' roles
// exchanged. The tile's origin is a multiple of S, so which taps of which
// pixel take part is known while unrolling.

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
// For packing: whether source and destination channels are exchanged, as in
// every gradient, and whether taps are in reverse order: at stride 1 that
// makes the gradient an ordinary convolution.
const EXCHANGED: bool = false;
const FLIPPED: bool = false;
// The tile.
const PX: u32 = 4u;
const PY: u32 = 2u;
const KB: u32 = 4u;
// Source pixels for a tile: INNER of its own, and a halo around them.
const LEFT: u32 = 1u;
const RIGHT: u32 = 1u;
const INNER_X: u32 = 4u;
const INNER_Y: u32 = 2u;
// Whether rows of source and destination are read and written by fours.
const SOURCE4: bool = true;
const DEST4: bool = true;
const WG: u32 = 64u;
// Weights by way of a uniform buffer that holds one channel block, at places
// that the host hands over. A processor's driver reads a place that it knows
// to be the same for all invocations once, and any other place once for each:
// what comes from immediate data it knows, a loop's counter it does not.
const UNIFORM: bool = false;
const BLOCK4: u32 = 36u;
const BLOCK_STRIDE: u32 = 192u;

const COLS: u32 = LEFT + INNER_X + RIGHT;
const ROWS: u32 = LEFT + INNER_Y + RIGHT;
const TILES_X: u32 = (DW + PX - 1u) / PX;
const TILES_Y: u32 = (DH + PY - 1u) / PY;
const KB4: u32 = KB / 4u;
const BLOCKS: u32 = (DC + KB - 1u) / KB;
const TAPS: u32 = KERNEL * KERNEL;

@group(0) @binding(0) var<storage, read> source: array<f32>;       // N, GROUPS·SC, SH, SW
@group(0) @binding(1) var<storage, read> source4: array<vec4f>;    // the same memory
@group(0) @binding(2) var<storage, read> weights4: array<vec4f>;     // GROUPS·BLOCKS, SC, TAPS, KB
@group(0) @binding(3) var<storage, read> bias: array<f32>;         // GROUPS·DC
@group(0) @binding(4) var<storage, read_write> dest: array<f32>;   // N, GROUPS·DC, DH, DW
@group(0) @binding(5) var<storage, read_write> dest4: array<vec4f>; // the same memory
@group(0) @binding(6) var<storage, read> weights: array<f32>;      // K, C / GROUPS, KERNEL, KERNEL
@group(0) @binding(7) var<storage, read_write> repacked: array<f32>; // as `weights4`
@group(0) @binding(8) var<uniform> block4: array<vec4f, BLOCK4>;   // one block of `weights4`

// For UNIFORM: where in the block the weights of channel c begin, as the sum
// of at[c % 16] and at[16 + c / 16]; and the block, as the last.
struct Places {
    at: array<u32, 32>,
}

var<immediate> places: Places;

// Grid: x, folded into z, over the tiles of all images; y over channel blocks.
@compute @workgroup_size(WG)
fn tile(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_id) local: vec3u) {
    let index = (group.z * groups.x + group.x) * WG + local.x;
    let tx = index % TILES_X;
    let ty = index / TILES_X % TILES_Y;
    let n = index / (TILES_X * TILES_Y);
    if (DEST4) { // static
        if (n >= arrayLength(&dest4) / (GROUPS * DC * DH * DW / 4u)) {
            return;
        }
    } else {
        if (n >= arrayLength(&dest) / (GROUPS * DC * DH * DW)) {
            return;
        }
    }
    var block = group.y;
    if (UNIFORM) { // static
        block = places.at[31];
    }
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

    var taken: array<f32, ROWS * COLS>;
    for (var c = 0u; c < SC; c++) {
        let plane = ((n * GROUPS + channel_group) * SC + c) * (SH * SW);
        for (var r = 0u; r < ROWS; r++) { // unroll
            if (TILES_Y == 1u && (r < LEFT || r >= LEFT + SH)) { // static
                for (var j = 0u; j < COLS; j++) { // unroll
                    taken[r * COLS + j] = 0.0;
                }
            } else {
                // Below zero wraps round: one comparison finds both ends.
                let y = sy + r - LEFT;
                let inside = y < SH;
                let row = plane + min(y, SH - 1u) * SW;
                if (SOURCE4) { // static
                    for (var q = 0u; q < INNER_X / 4u; q++) { // unroll
                        let x = sx + 4u * q;
                        let v = select(vec4f(), source4[(row + min(x, SW - 4u)) / 4u], inside && x < SW);
                        taken[r * COLS + LEFT + 4u * q] = v.x;
                        taken[r * COLS + LEFT + 4u * q + 1u] = v.y;
                        taken[r * COLS + LEFT + 4u * q + 2u] = v.z;
                        taken[r * COLS + LEFT + 4u * q + 3u] = v.w;
                    }
                } else {
                    for (var j = 0u; j < INNER_X; j++) { // unroll
                        let x = sx + j;
                        taken[r * COLS + LEFT + j] = select(0.0, source[row + min(x, SW - 1u)], inside && x < SW);
                    }
                }
                for (var j = 0u; j < LEFT; j++) { // unroll
                    if (TILES_X == 1u) { // static
                        taken[r * COLS + j] = 0.0;
                    } else {
                        let x = sx + j - LEFT;
                        taken[r * COLS + j] = select(0.0, source[row + min(x, SW - 1u)], inside && x < SW);
                    }
                }
                for (var j = 0u; j < RIGHT; j++) { // unroll
                    if (TILES_X == 1u && INNER_X + j >= SW) { // static
                        taken[r * COLS + LEFT + INNER_X + j] = 0.0;
                    } else {
                        let x = sx + INNER_X + j;
                        taken[r * COLS + LEFT + INNER_X + j] =
                            select(0.0, source[row + min(x, SW - 1u)], inside && x < SW);
                    }
                }
            }
        }

        var first_weight = (block * SC + c) * TAPS * KB4;
        if (UNIFORM) { // static
            first_weight = places.at[c % 16u] + places.at[16u + c / 16u];
        }
        for (var q = 0u; q < KB4; q++) { // unroll
            var w: array<vec4f, TAPS>;
            for (var tap = 0u; tap < TAPS; tap++) { // unroll
                if (UNIFORM) { // static
                    w[tap] = block4[first_weight + tap * KB4 + q];
                } else {
                    w[tap] = weights4[first_weight + tap * KB4 + q];
                }
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

    for (var k = 0u; k < KB; k++) { // unroll
        let channel = first_channel + k;
        if (DC % KB == 0u || channel < DC) {
            let plane = ((n * GROUPS + channel_group) * DC + channel) * (DH * DW);
            for (var py = 0u; py < PY; py++) { // unroll
                let y = ty * PY + py;
                if (DH % PY == 0u || y < DH) {
                    let row = plane + y * DW + tx * PX;
                    if (DEST4) { // static
                        for (var q = 0u; q < PX / 4u; q++) { // unroll
                            if (DW % PX == 0u || tx * PX + 4u * q < DW) {
                                dest4[row / 4u + q] = vec4f(
                                    acc[(py * PX + 4u * q) * KB4 + k / 4u][k % 4u],
                                    acc[(py * PX + 4u * q + 1u) * KB4 + k / 4u][k % 4u],
                                    acc[(py * PX + 4u * q + 2u) * KB4 + k / 4u][k % 4u],
                                    acc[(py * PX + 4u * q + 3u) * KB4 + k / 4u][k % 4u]);
                            }
                        }
                    } else {
                        for (var px = 0u; px < PX; px++) { // unroll
                            if (DW % PX == 0u || tx * PX + px < DW) {
                                dest[row + px] = acc[(py * PX + px) * KB4 + k / 4u][k % 4u];
                            }
                        }
                    }
                }
            }
        }
    }
}

// Lays weights out as `tile` reads them: for each block of KB destination
// channels, source channel and tap, KB neighbours; zero beyond the last one.
@compute @workgroup_size(WG)
fn pack(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_id) local: vec3u) {
    let index = (group.y * groups.x + group.x) * WG + local.x;
    if (index >= GROUPS * BLOCKS * SC * TAPS * KB) {
        return;
    }
    let tap = select(index / KB % TAPS, TAPS - 1u - index / KB % TAPS, FLIPPED);
    let c = index / (KB * TAPS) % SC;
    let block = index / (KB * TAPS * SC);
    let channel = block % BLOCKS * KB + index % KB;
    var value = 0.0;
    if (channel < DC) {
        if (EXCHANGED) {
            value = weights[((block / BLOCKS * SC + c) * DC + channel) * TAPS + tap];
        } else {
            value = weights[((block / BLOCKS * DC + channel) * SC + c) * TAPS + tap];
        }
    }
    // Blocks of a uniform buffer begin at aligned places.
    if (UNIFORM) { // static
        repacked[block * BLOCK_STRIDE + index % (KB * TAPS * SC)] = value;
    } else {
        repacked[index] = value;
    }
}
