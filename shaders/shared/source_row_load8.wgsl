// A piece of a row of `source`, by load8 where SOURCE_LOAD8. The importing file also
// declares the binding `source8` of the same memory.

// import load8
// import source_row

// As `source_row`.
fn source_row_load8(row: u32, first: u32, inside: bool) -> array<f32, INNER_X> {
    var values: array<f32, INNER_X>;
    if (SOURCE_LOAD8) { // static
        for (var q = 0u; q < INNER_X / 8u; q++) { // unroll
            let at = first + 8u * q;
            let both = load8(source8[(row + min(at, SW - 8u)) / 8u]);
            for (var h = 0u; h < 2u; h++) { // unroll
                let v = select(vec4f(), both[h], inside && at < SW);
                values[8u * q + 4u * h] = v.x;
                values[8u * q + 4u * h + 1u] = v.y;
                values[8u * q + 4u * h + 2u] = v.z;
                values[8u * q + 4u * h + 3u] = v.w;
            }
        }
    } else {
        values = source_row(row, first, inside);
    }
    return values;
}
