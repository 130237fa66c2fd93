// Depthwise convolution, and its input gradient: every channel is a group of
// its own.
//
// One invocation owns PX × PY pixels of one channel. No channels are summed, so
// a source pixel serves KERNEL² products at most and loads decide the speed:
// the invocation loads one source row after the other and uses each in all the
// destination rows that it reaches. Weights are read as they lie in memory,
// nothing is packed.
//
// Directions and taps are those of `conv/direct.wgsl`.

// import columns
// import flat_index
// import images

// One group has one channel: DC is 1 and GROUPS the number of channels. The
// planes of source and destination.
const SH: u32 = 8u;
const SW: u32 = 8u;
const DC: u32 = 1u;
const DH: u32 = 8u;
const DW: u32 = 8u;
const GROUPS: u32 = 4u;
const KERNEL: u32 = 3u;
const STRIDE: u32 = 1u;
const PADDING: u32 = 1u;
const TRANSPOSED: bool = false;
const BIAS: bool = false;
// Whether taps are in reverse order: at stride 1 that makes the input gradient
// an ordinary convolution.
const FLIPPED: bool = false;
// The tile.
const PX: u32 = 4u;
const PY: u32 = 2u;
// Source pixels of a tile: INNER_X × INNER_Y of its own, and a halo of LEFT on the
// left and above, RIGHT on the right and below.
const LEFT: u32 = 1u;
const RIGHT: u32 = 1u;
const INNER_X: u32 = 4u;
const INNER_Y: u32 = 2u;
// Whether rows of source and destination are accessed as vec4.
const SOURCE_VEC4: bool = true;
const DEST_VEC4: bool = true;
const WG: u32 = 64u;
// An element of source and destination in memory, and four elements.
alias Stored = f32;
alias Stored4 = vec4f;

const COLS: u32 = LEFT + INNER_X + RIGHT;
const ROWS: u32 = LEFT + INNER_Y + RIGHT;
const TILES_X: u32 = (DW + PX - 1u) / PX;
const TILES_Y: u32 = (DH + PY - 1u) / PY;
const TAPS: u32 = KERNEL * KERNEL;
// Whether halos are loaded as shared/halo.wgsl does between two tiles.
const ONE_SIDED: bool = false;

@group(0) @binding(0) var<storage, read> source: array<Stored>;     // N, GROUPS, SH, SW
@group(0) @binding(1) var<storage, read> source4: array<Stored4>;   // the same memory
@group(0) @binding(3) var<storage, read> bias: array<f32>;          // GROUPS
@group(0) @binding(4) var<storage, read_write> dest: array<Stored>; // N, GROUPS, DH, DW
@group(0) @binding(5) var<storage, read_write> dest4: array<Stored4>; // the same memory
@group(0) @binding(6) var<storage, read> weights: array<f32>;       // GROUPS, 1, KERNEL, KERNEL

// Grid: x, folded into z, over the tiles of all images; y over channels.
@compute @workgroup_size(WG)
fn depthwise(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
             @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index_xz(group, groups, local);
    let tx = index % TILES_X;
    let ty = index / TILES_X % TILES_Y;
    let n = index / (TILES_X * TILES_Y);
    if (n >= images()) {
        return;
    }
    let channel = group.y;
    var w: array<f32, TAPS>;
    for (var tap = 0u; tap < TAPS; tap++) { // unroll
        w[tap] = weights[channel * TAPS + select(tap, TAPS - 1u - tap, FLIPPED)];
    }
    var acc: array<f32, PX * PY>;
    if (BIAS) { // static
        let b = bias[channel];
        for (var p = 0u; p < PX * PY; p++) { // unroll
            acc[p] = b;
        }
    }

    let plane = (n * GROUPS + channel) * (SH * SW);
    for (var r = 0u; r < ROWS; r++) { // unroll
        var row: array<f32, COLS>;
        // Where a tile is the whole plane, nothing is above or below.
        if (TILES_Y > 1u || (r >= LEFT && r < LEFT + SH)) { // static
            row = columns(plane, tx * INNER_X, ty * INNER_Y + r - LEFT);
        }
        for (var py = 0u; py < PY; py++) { // unroll
            for (var ky = 0u; ky < KERNEL; ky++) { // unroll
                if (!TRANSPOSED && py * STRIDE + ky == r) { // static
                    for (var px = 0u; px < PX; px++) { // unroll
                        for (var kx = 0u; kx < KERNEL; kx++) { // unroll
                            acc[py * PX + px] += row[px * STRIDE + kx] * w[ky * KERNEL + kx];
                        }
                    }
                }
                if (TRANSPOSED && (py + PADDING - ky) % STRIDE == 0u && (py + PADDING - ky) / STRIDE + LEFT == r) { // static
                    for (var px = 0u; px < PX; px++) { // unroll
                        for (var kx = 0u; kx < KERNEL; kx++) { // unroll
                            if ((px + PADDING - kx) % STRIDE == 0u) { // static
                                acc[py * PX + px] += row[(px + PADDING - kx) / STRIDE + LEFT] * w[ky * KERNEL + kx];
                            }
                        }
                    }
                }
            }
        }
    }

    let first = (n * GROUPS + channel) * (DH * DW) + tx * PX;
    for (var py = 0u; py < PY; py++) { // unroll
        let y = ty * PY + py;
        if (DH % PY == 0u || y < DH) {
            if (DEST_VEC4) { // static
                for (var q = 0u; q < PX / 4u; q++) { // unroll
                    if (DW % PX == 0u || tx * PX + 4u * q < DW) {
                        dest4[(first + y * DW) / 4u + q] = Stored4(vec4f(
                            acc[py * PX + 4u * q], acc[py * PX + 4u * q + 1u],
                            acc[py * PX + 4u * q + 2u], acc[py * PX + 4u * q + 3u]));
                    }
                }
            } else {
                for (var px = 0u; px < PX; px++) { // unroll
                    if (DW % PX == 0u || tx * PX + px < DW) {
                        dest[first + y * DW + px] = Stored(acc[py * PX + px]);
                    }
                }
            }
        }
    }
}
