// A row of a tile with its halo.

// import source_row
// import halo

// COLS columns of row y of a plane, of which INNER_X begin at column `first`;
// zero beyond the plane.
fn columns(plane: u32, first: u32, y: u32) -> array<f32, COLS> {
    // A row above the plane wraps around to a large number: one comparison
    // finds both ends.
    let inside = y < SH;
    let row = plane + min(y, SH - 1u) * SW;
    return with_halo(source_row(row, first, inside), row, first, inside);
}
