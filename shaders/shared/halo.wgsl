// A row of a tile with the pixels left and right of it, from memory. The
// importing file declares INNER_X, LEFT, RIGHT and COLS, their sum; TILES_X,
// the number of tiles along a row; SW; ONE_SIDED; and the binding `source`.

// `inner` with its halo. It begins at column `first` of the row that begins at
// `row`. Zero beyond the row, and everywhere unless `inside`.
fn with_halo(inner: array<f32, INNER_X>, row: u32, first: u32, inside: bool) -> array<f32, COLS> {
    var columns: array<f32, COLS>;
    for (var j = 0u; j < INNER_X; j++) { // unroll
        columns[LEFT + j] = inner[j];
    }
    if (ONE_SIDED) { // static
        // Two tiles: each has a neighbour on one side only, so one load is
        // enough.
        let at = select(first - 1u, first + INNER_X, first == 0u);
        let v = select(0.0, f32(source[row + min(at, SW - 1u)]), inside && at < SW);
        columns[0] = select(v, 0.0, first == 0u);
        columns[INNER_X + 1u] = select(0.0, v, first == 0u);
    }
    if (TILES_X > 1u && !ONE_SIDED) { // static
        for (var j = 0u; j < LEFT; j++) { // unroll
            let at = first + j - LEFT;
            columns[j] = select(0.0, f32(source[row + min(at, SW - 1u)]), inside && at < SW);
        }
    }
    for (var j = 0u; j < RIGHT; j++) { // unroll
        if (!ONE_SIDED && (TILES_X > 1u || INNER_X + j < SW)) { // static
            let at = first + INNER_X + j;
            columns[LEFT + INNER_X + j] = select(0.0, f32(source[row + min(at, SW - 1u)]), inside && at < SW);
        }
    }
    return columns;
}
