// What the shards of a batch computed one after the other, put together in their order:
// the sum of their gradients, and the mean of the running states that they leave.

// import flat_index
// import step

const WG: u32 = 64u;

@group(0) @binding(0) var<storage, read> values: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> sums: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> means: array<vec4f>;
@group(0) @binding(3) var<storage, read> step: Step;

// Grid: x, folded into y, over values / 4.
@compute @workgroup_size(WG)
fn add(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
       @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index < arrayLength(&sums)) {
        sums[index] += values[index];
    }
}

// `means` are over the images before this shard, then over its images as well. A state
// that no shard advanced keeps its bits.
// Grid: x, folded into y, over values / 4.
@compute @workgroup_size(WG)
fn average(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index < arrayLength(&means)) {
        let share = f32(step.part_images) / f32(step.first_image + step.part_images);
        means[index] += share * (values[index] - means[index]);
    }
}
