// Linear layers: y = x Wᵀ + b, and both gradients, as one matrix product with
// strides: out[r, c] = Σ_d a[r, d] · b[d, c]. An invocation computes TILE × TILE
// elements of the output.

// import flat_index

// Columns of the output.
const COLS: u32 = 8u;
// Distance in memory, in elements, of neighbouring rows of a, terms of a, terms
// of b and columns of b.
const A_ROW: u32 = 8u;
const A_DEPTH: u32 = 1u;
const B_DEPTH: u32 = 1u;
const B_COL: u32 = 8u;
const BIAS: bool = false;
const TILE: u32 = 4u;
const WG: u32 = 64u;
// An element of a, b and the output in memory.
alias A = f32;
alias B = f32;
alias Out = f32;

// Tiles in a row of the output.
const TILES: u32 = (COLS + TILE - 1u) / TILE;

@group(0) @binding(0) var<storage, read> a: array<A>;
@group(0) @binding(1) var<storage, read> b: array<B>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<Out>; // rows, COLS

// Grid: x, folded into y, over tiles of the output.
@compute @workgroup_size(WG)
fn product(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    let rows = arrayLength(&out) / COLS;
    let depth = arrayLength(&b) / COLS;
    let r0 = index / TILES * TILE;
    let c0 = index % TILES * TILE;
    if (r0 >= rows) {
        return;
    }
    var acc: array<f32, TILE * TILE>;
    var left: array<f32, TILE>;
    var right: array<f32, TILE>;
    for (var d = 0u; d < depth; d++) {
        for (var i = 0u; i < TILE; i++) { // unroll
            left[i] = f32(a[min(r0 + i, rows - 1u) * A_ROW + d * A_DEPTH]);
            right[i] = f32(b[d * B_DEPTH + min(c0 + i, COLS - 1u) * B_COL]);
        }
        for (var i = 0u; i < TILE; i++) { // unroll
            for (var j = 0u; j < TILE; j++) { // unroll
                acc[i * TILE + j] += left[i] * right[j];
            }
        }
    }
    for (var i = 0u; i < TILE; i++) { // unroll
        for (var j = 0u; j < TILE; j++) { // unroll
            if (r0 + i < rows && c0 + j < COLS) {
                if (BIAS) { // static
                    out[(r0 + i) * COLS + c0 + j] = Out(acc[i * TILE + j] + bias[c0 + j]);
                } else {
                    out[(r0 + i) * COLS + c0 + j] = Out(acc[i * TILE + j]);
                }
            }
        }
    }
}
