// The exponential moving average of all parameters, or of all running states.

// import flat_index

// The part of the average that stays in a step, and 1 minus it, computed in 64 bits.
const DECAY: f32 = 0.999;
const NEW: f32 = 0.001;
const WG: u32 = 64u;

@group(0) @binding(0) var<storage, read> values: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> averages: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> others: array<vec4f>;

// Grid: x, folded into y, over values / 4.
@compute @workgroup_size(WG)
fn average(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index < arrayLength(&averages)) {
        averages[index] = DECAY * averages[index] + NEW * values[index];
    }
}

// Each becomes what the other was.
// Grid: x, folded into y, over values / 4.
@compute @workgroup_size(WG)
fn exchange(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index < arrayLength(&averages)) {
        let before = averages[index];
        averages[index] = others[index];
        others[index] = before;
    }
}
