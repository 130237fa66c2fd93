// A row of a tile with its halo, by load8 where SOURCE_LOAD8.

// import source_row_load8
// import halo

// COLS columns of row y of a plane, of which INNER_X begin at column `first`;
// zero beyond the plane.
fn columns_load8(plane: u32, first: u32, y: u32) -> array<f32, COLS> {
    // A row above the plane wraps around to a large number: one comparison
    // finds both ends.
    let inside = y < SH;
    let row = plane + min(y, SH - 1u) * SW;
    return with_halo(source_row_load8(row, first, inside), row, first, inside);
}
