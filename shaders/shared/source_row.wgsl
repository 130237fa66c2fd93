// A piece of a row of `source`, by vec4 loads where SOURCE_VEC4, else one by one. The
// importing file declares INNER_X, the length of a piece; SW, that of a row; and
// the bindings `source` and `source4` of the same memory.

// The values of the row that begins at `row`, from column `first` on. Zero
// beyond the row, and everywhere unless `inside`.
fn source_row(row: u32, first: u32, inside: bool) -> array<f32, INNER_X> {
    var values: array<f32, INNER_X>;
    if (SOURCE_VEC4) { // static
        for (var q = 0u; q < INNER_X / 4u; q++) { // unroll
            let at = first + 4u * q;
            let v = select(vec4f(), vec4f(source4[(row + min(at, SW - 4u)) / 4u]), inside && at < SW);
            values[4u * q] = v.x;
            values[4u * q + 1u] = v.y;
            values[4u * q + 2u] = v.z;
            values[4u * q + 3u] = v.w;
        }
    } else {
        for (var j = 0u; j < INNER_X; j++) { // unroll
            let at = first + j;
            values[j] = select(0.0, f32(source[row + min(at, SW - 1u)]), inside && at < SW);
        }
    }
    return values;
}
