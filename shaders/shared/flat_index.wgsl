// Which element does this invocation work on? The importing file declares WG,
// its workgroup size.

// import grid

// Index of the invocation in a grid with x folded into y.
fn flat_index(group: vec3u, groups: vec3u, local: vec3u) -> u32 {
    return flat_workgroup_xy(group, groups) * WG + local.x;
}

// Index of the invocation in a grid with x folded into z.
fn flat_index_xz(group: vec3u, groups: vec3u, local: vec3u) -> u32 {
    return flat_workgroup_xz(group, groups) * WG + local.x;
}
