// Winograd's transform of source pixels for 3×3 kernels (Lavin and Gray 2016):
// 6 × 6 pixels, of which 4 × 4 are a patch, become 36 terms. The transform
// interpolates at 0, ±√½, ±√2 and ∞, where the rounding error is less than half
// of that at the usual points 0, ±1, ±2 and ∞ (docs/notes.md).
//
// The importing file declares ROWS and COLS of the source pixels of a tile,
// PATCHES_X patches along a row of the tile, and PATCHES in all of it.

// Terms of a patch.
const TERMS: u32 = 36u;
// The points other than 0 and ∞ are ±NEAR and ±FAR, whose squares are one half
// and two.
const NEAR: f32 = 0.70710678;
const FAR: f32 = 1.41421356;

// Six terms of six source values.
fn source_terms(a: f32, b: f32, c: f32, d: f32, e: f32, f: f32) -> array<f32, 6> {
    let near = e - 2.0 * c;
    let far = e - 0.5 * c;
    let near_odd = NEAR * (d - 2.0 * b);
    let far_odd = FAR * (d - 0.5 * b);
    return array<f32, 6>(
        a - 2.5 * c + e, near + near_odd, near - near_odd, far + far_odd, far - far_odd, b - 2.5 * d + f);
}

// The first pass, along rows: the terms of each patch in one row of pixels.
fn row_terms(row: array<f32, COLS>) -> array<array<f32, 6>, PATCHES_X> {
    var terms: array<array<f32, 6>, PATCHES_X>;
    for (var p = 0u; p < PATCHES_X; p++) { // unroll
        terms[p] = source_terms(
            row[4u * p], row[4u * p + 1u], row[4u * p + 2u], row[4u * p + 3u], row[4u * p + 4u], row[4u * p + 5u]);
    }
    return terms;
}

// The second pass, along columns: the 36 terms of each patch, of the first
// pass of all rows.
fn patch_terms(rows: array<array<f32, 6>, ROWS * PATCHES_X>) -> array<f32, PATCHES * TERMS> {
    var terms: array<f32, PATCHES * TERMS>;
    for (var p = 0u; p < PATCHES; p++) { // unroll
        for (var j = 0u; j < 6u; j++) { // unroll
            let column = source_terms(
                rows[p / PATCHES_X * (4u * PATCHES_X) + p % PATCHES_X][j],
                rows[p / PATCHES_X * (4u * PATCHES_X) + p % PATCHES_X + PATCHES_X][j],
                rows[p / PATCHES_X * (4u * PATCHES_X) + p % PATCHES_X + 2u * PATCHES_X][j],
                rows[p / PATCHES_X * (4u * PATCHES_X) + p % PATCHES_X + 3u * PATCHES_X][j],
                rows[p / PATCHES_X * (4u * PATCHES_X) + p % PATCHES_X + 4u * PATCHES_X][j],
                rows[p / PATCHES_X * (4u * PATCHES_X) + p % PATCHES_X + 5u * PATCHES_X][j]);
            for (var y = 0u; y < 6u; y++) { // unroll
                terms[p * TERMS + 6u * y + j] = column[y];
            }
        }
    }
    return terms;
}
