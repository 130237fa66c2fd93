// A piece of a row of `dy`, by load8 where DY_LOAD8. The importing file also
// declares the binding `dy8` of the same memory.

// import load8
// import dy_row

// As `dy_row`.
fn dy_row_load8(row: u32, first: u32, inside: bool) -> array<f32, DY_COLS> {
    var values: array<f32, DY_COLS>;
    if (DY_LOAD8) { // static
        for (var q = 0u; q < DY_COLS / 8u; q++) { // unroll
            let at = first + 8u * q;
            let both = load8(dy8[(row + min(at, DW - 8u)) / 8u]);
            for (var h = 0u; h < 2u; h++) { // unroll
                let v = select(vec4f(), both[h], inside && at < DW);
                values[8u * q + 4u * h] = v.x;
                values[8u * q + 4u * h + 1u] = v.y;
                values[8u * q + 4u * h + 2u] = v.z;
                values[8u * q + 4u * h + 3u] = v.w;
            }
        }
    } else {
        values = dy_row(row, first, inside);
    }
    return values;
}
