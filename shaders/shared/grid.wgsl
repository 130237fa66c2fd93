// Which workgroup is this one? The host continues a dimension that needs more
// workgroups than fit into one in a second dimension ("x, folded into y").

// Index of the workgroup in a grid with x folded into y.
fn flat_workgroup_xy(group: vec3u, groups: vec3u) -> u32 {
    return group.y * groups.x + group.x;
}

// Index of the workgroup in a grid with x folded into z.
fn flat_workgroup_xz(group: vec3u, groups: vec3u) -> u32 {
    return group.z * groups.x + group.x;
}

// Index of the workgroup in a grid with y folded into z.
fn flat_workgroup_yz(group: vec3u, groups: vec3u) -> u32 {
    return group.z * groups.y + group.y;
}
