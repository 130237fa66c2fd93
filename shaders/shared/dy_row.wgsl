// A piece of a row of `dy`, by vec4 loads where DY_VEC4, else one by one. The
// importing file declares DY_COLS, the length of a piece; DW, that of a row; and
// the bindings `dy` and `dy4` of the same memory.

// The values of the row that begins at `row`, from column `first` on. Zero
// beyond the row, and everywhere unless `inside`.
fn dy_row(row: u32, first: u32, inside: bool) -> array<f32, DY_COLS> {
    var values: array<f32, DY_COLS>;
    if (DY_VEC4) { // static
        for (var q = 0u; q < DY_COLS / 4u; q++) { // unroll
            let at = first + 4u * q;
            let v = select(vec4f(), vec4f(dy4[(row + min(at, DW - 4u)) / 4u]), inside && at < DW);
            values[4u * q] = v.x;
            values[4u * q + 1u] = v.y;
            values[4u * q + 2u] = v.z;
            values[4u * q + 3u] = v.w;
        }
    } else {
        for (var j = 0u; j < DY_COLS; j++) { // unroll
            let at = first + j;
            values[j] = select(0.0, f32(dy[row + min(at, DW - 1u)]), inside && at < DW);
        }
    }
    return values;
}
