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

const INNER: u32 = PX * STRIDE;
const COLS: u32 = PADDING + INNER + RIGHT;
const STRIPS: u32 = (OW + PX - 1u) / PX;
// Rows of the window, and those of them that the next turn uses again.
const ROWS: u32 = (PY - 1u) * STRIDE + KERNEL;
const KEPT_ROWS: u32 = max(ROWS, PY * STRIDE) - PY * STRIDE;
const TAPS: u32 = KERNEL * KERNEL;
// Whether a strip has a neighbour on one side only.
const ONE_SIDED: bool = STRIPS == 2u && STRIDE == 1u && PADDING == 1u && RIGHT == 1u;
const K_BLOCKS: u32 = (K + KB - 1u) / KB;
const C_BLOCKS: u32 = (C + SUBGROUP_SIZE * CB - 1u) / (SUBGROUP_SIZE * CB);
// Values of dy that one load brings, and loads of a lane.
const LOAD_WIDTH: u32 = select(select(1u, 4u, DY_VEC4), 8u, DY_LOAD8);
const LANE_LOADS: u32 = (KB * PY * PX / LOAD_WIDTH + SUBGROUP_SIZE - 1u) / SUBGROUP_SIZE;

@group(0) @binding(0) var<storage, read> x: array<Stored>;    // N, GROUPS·C, H, W
@group(0) @binding(1) var<storage, read> x4: array<Stored4>;  // the same memory
@group(0) @binding(2) var<storage, read> dy: array<Stored>;   // N, GROUPS·K, OH, OW
@group(0) @binding(3) var<storage, read> dy4: array<Stored4>; // the same memory
@group(0) @binding(4) var<storage, read_write> partial: array<f32>; // splits, GROUPS·K, C, TAPS
@group(0) @binding(5) var<storage, read> x8: array<vec4<u64>>;  // the memory of `x`
@group(0) @binding(6) var<storage, read> dy8: array<vec4<u64>>; // the memory of `dy`

// The load8 values that were loaded as four 64-bit integers.
fn load8(v: vec4<u64>) -> array<vec4f, 2> {
    return array<vec4f, 2>(
        bitcast<vec4f>(vec4u(u32(v.x), u32(v.x >> 32u), u32(v.y), u32(v.y >> 32u))),
        bitcast<vec4f>(vec4u(u32(v.z), u32(v.z >> 32u), u32(v.w), u32(v.w >> 32u))));
}

// INNER columns of row y of a plane from column sx on, with PADDING before and
// RIGHT behind; zero beyond the plane.
fn columns(plane: u32, sx: u32, y: u32) -> array<f32, COLS> {
    var row: array<f32, COLS>;
    // Wraps round below zero: one comparison finds both ends.
    let inside = y < H;
    let first = plane + min(y, H - 1u) * W;
    if (SOURCE_LOAD8) { // static
        for (var q = 0u; q < INNER / 8u; q++) { // unroll
            let at = sx + 8u * q;
            let both = load8(x8[(first + min(at, W - 8u)) / 8u]);
            for (var h = 0u; h < 2u; h++) { // unroll
                let v = select(vec4f(), both[h], inside && at < W);
                row[PADDING + 8u * q + 4u * h] = v.x;
                row[PADDING + 8u * q + 4u * h + 1u] = v.y;
                row[PADDING + 8u * q + 4u * h + 2u] = v.z;
                row[PADDING + 8u * q + 4u * h + 3u] = v.w;
            }
        }
    }
    if (SOURCE_VEC4 && !SOURCE_LOAD8) { // static
        for (var q = 0u; q < INNER / 4u; q++) { // unroll
            let at = sx + 4u * q;
            let v = select(vec4f(), vec4f(x4[(first + min(at, W - 4u)) / 4u]), inside && at < W);
            row[PADDING + 4u * q] = v.x;
            row[PADDING + 4u * q + 1u] = v.y;
            row[PADDING + 4u * q + 2u] = v.z;
            row[PADDING + 4u * q + 3u] = v.w;
        }
    }
    if (!SOURCE_VEC4) { // static
        for (var j = 0u; j < INNER; j++) { // unroll
            row[PADDING + j] = select(0.0, f32(x[first + min(sx + j, W - 1u)]), inside && sx + j < W);
        }
    }
    if (ONE_SIDED) { // static
        let at = select(sx - 1u, sx + INNER, sx == 0u);
        let v = select(0.0, f32(x[first + min(at, W - 1u)]), inside && at < W);
        row[0] = select(v, 0.0, sx == 0u);
        row[INNER + 1u] = select(0.0, v, sx == 0u);
    }
    if (STRIPS > 1u && !ONE_SIDED) { // static
        for (var j = 0u; j < PADDING; j++) { // unroll
            let at = sx + j - PADDING;
            row[j] = select(0.0, f32(x[first + min(at, W - 1u)]), inside && at < W);
        }
    }
    for (var j = 0u; j < RIGHT; j++) { // unroll
        if (!ONE_SIDED && (STRIPS > 1u || INNER + j < W)) { // static
            let at = sx + INNER + j;
            row[PADDING + INNER + j] = select(0.0, f32(x[first + min(at, W - 1u)]), inside && at < W);
        }
    }
    return row;
}

// Grid: x, folded into z, over blocks of channels, which follow each other while
// their images are in a cache; y over splits (a range of images and a strip), a
// subgroup each.
@compute @workgroup_size(WG)
fn weight_gradient(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
               @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
    let block = group.z * groups.x + group.x;
    let split = group.y * (WG / SUBGROUP_SIZE) + subgroup;
    let strip = split % STRIPS;
    let batch = arrayLength(&x) / (GROUPS * C * H * W);
    let first = split / STRIPS * IMAGES;
    if (first >= batch || block >= GROUPS * K_BLOCKS * C_BLOCKS) {
        return;
    }
    let last = min(first + IMAGES, batch);
    let channel_group = block / (K_BLOCKS * C_BLOCKS);
    let k0 = block / C_BLOCKS % K_BLOCKS * KB;
    // The lane's channels are SUBGROUP_SIZE apart.
    let c0 = block % C_BLOCKS * (SUBGROUP_SIZE * CB) + lane;
    let sx = strip * INNER;

    var acc: array<f32, KB * CB * TAPS>;
    var window: array<f32, CB * ROWS * COLS>;
    for (var n = first; n < last; n++) {
        let image = (n * GROUPS + channel_group) * C;
        for (var i = 0u; i < CB; i++) { // unroll
            for (var r = 0u; r < KEPT_ROWS; r++) { // unroll
                var row: array<f32, COLS>;
                if (r >= PADDING) { // static
                    row = columns((image + min(c0 + i * SUBGROUP_SIZE, C - 1u)) * (H * W), sx, r - PADDING);
                }
                for (var j = 0u; j < COLS; j++) { // unroll
                    window[(i * ROWS + r) * COLS + j] = row[j];
                }
            }
        }
        for (var oy = 0u; oy < OH; oy += PY) {
            for (var i = 0u; i < CB; i++) { // unroll
                for (var r = KEPT_ROWS; r < ROWS; r++) { // unroll
                    if (r % STRIDE < KERNEL) { // static
                        let row = columns((image + min(c0 + i * SUBGROUP_SIZE, C - 1u)) * (H * W), sx, oy * STRIDE + r - PADDING);
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
                let k = min(k0 + place / (PY * PX), K - 1u);
                let y = oy + place / PX % PY;
                let at = strip * PX + place % PX;
                let inside = at < OW && (OH % PY == 0u || y < OH);
                let row = ((n * GROUPS + channel_group) * K + k) * (OH * OW) + min(y, OH - 1u) * OW;
                if (DY_LOAD8) { // static
                    let both = load8(dy8[(row + min(at, OW - 8u)) / 8u]);
                    for (var h = 0u; h < 2u; h++) { // unroll
                        let v = select(vec4f(), both[h], inside);
                        share[8u * i + 4u * h] = v.x;
                        share[8u * i + 4u * h + 1u] = v.y;
                        share[8u * i + 4u * h + 2u] = v.z;
                        share[8u * i + 4u * h + 3u] = v.w;
                    }
                }
                if (DY_VEC4 && !DY_LOAD8) { // static
                    let v = select(vec4f(), vec4f(dy4[(row + min(at, OW - 4u)) / 4u]), inside);
                    share[4u * i] = v.x;
                    share[4u * i + 1u] = v.y;
                    share[4u * i + 2u] = v.z;
                    share[4u * i + 3u] = v.w;
                }
                if (!DY_VEC4) { // static
                    share[i] = select(0.0, f32(dy[row + min(at, OW - 1u)]), inside);
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
        if (c < C) {
            for (var k = 0u; k < KB; k++) { // unroll
                if (K % KB == 0u || k0 + k < K) {
                    let filter_at = (((FIRST_SPLIT + split) * GROUPS + channel_group) * K + k0 + k) * C + c;
                    for (var tap = 0u; tap < TAPS; tap++) { // unroll
                        partial[filter_at * TAPS + tap] = acc[(k * CB + i) * TAPS + tap];
                    }
                }
            }
        }
    }
}
