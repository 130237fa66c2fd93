// Sums of squares of parameters and gradients, and from them the norm of all gradients
// together and the factor that limits it (Pascanu et al. 2013).
//
// Tensors are divided into segments of a fixed length, so that the order of a sum
// depends on the network only.

// import grid
// import loss_scale_state
// import segment
// import workgroup_sum

// First segment of this dispatch's part of the arenas, and the one after its last.
const FIRST: u32 = 0u;
const END: u32 = 1u;
// Whether parameters are summed as well as gradients.
const WITH_PARAMS: bool = true;
// The largest norm.
const LIMIT: f32 = 1.0;
// Whether gradients are multiplied by a loss scale.
const SCALED: bool = false;
const WG: u32 = 64u;
// Squares of parameters, of gradients.
alias Sum = vec2f;
// The flag that a gradient has overflowed, in the loss scale's state.
alias Overflow = u32;

@group(0) @binding(0) var<storage, read> params: array<vec4f>;
@group(0) @binding(1) var<storage, read> grads: array<vec4f>;
@group(0) @binding(2) var<storage, read> segments: array<Segment>;
@group(0) @binding(3) var<storage, read_write> squares_out: array<vec2f>; // segments
@group(0) @binding(4) var<storage, read> squares_in: array<vec2f>;        // segments
@group(0) @binding(5) var<storage, read_write> norm: array<vec2f>;        // 1: norm, factor
@group(0) @binding(6) var<storage, read> loss_scale: LossScale;

// Sums of each segment.
// Grid: x, folded into y, one workgroup for each segment.
@compute @workgroup_size(WG)
fn squares(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_id) local: vec3u) {
    let index = FIRST + flat_workgroup_xy(group, groups);
    if (index >= END) {
        return;
    }
    let own = segments[index];
    var sum = vec2f();
    for (var i = local.x; i < own.count; i += WG) {
        let g = grads[own.first + i];
        sum.y += dot(g, g);
        if (WITH_PARAMS) { // static
            let p = params[own.first + i];
            sum.x += dot(p, p);
        }
    }
    let all = workgroup_sum(sum, local.x);
    if (local.x == 0u) {
        squares_out[index] = all;
    }
}

// The norm of all gradients, and the factor that brings it to the limit, as PyTorch
// defines it.
// Grid: one workgroup.
@compute @workgroup_size(WG)
fn clip(@builtin(local_invocation_id) local: vec3u) {
    var sum = vec2f();
    for (var i = local.x; i < arrayLength(&squares_in); i += WG) {
        sum += squares_in[i];
    }
    let all = workgroup_sum(sum, local.x);
    if (local.x == 0u) {
        var length = sqrt(all.y);
        if (SCALED) { // static
            length *= loss_scale.unscale;
        }
        norm[0] = vec2f(length, min(1.0, LIMIT / (length + 1e-6)));
    }
}
