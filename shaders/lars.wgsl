// Layer-wise adaptive rates (You, Gitman and Ginsburg 2017, arXiv:1708.03888): SGD with
// momentum in which each tensor's gradient is multiplied by a rate of its own,
//
//     rate = TRUST · ‖p‖ / (‖g‖ + weight_decay · ‖p‖ + EPS)
//     g ← rate · (g + weight_decay · p)
//     m ← momentum · m + g
//     p ← p − lr · (nesterov ? g + momentum · m : m)
//
// The rate is 1 for tensors that are not adapted, and where a norm is 0.

// import gradient_factor
// import grid
// import loss_scale_state
// import segment
// import step
// import workgroup_sum

// First segment of this dispatch's part of the arenas, and the one after its last.
const FIRST: u32 = 0u;
const END: u32 = 1u;
const TRUST: f32 = 0.001;
const EPS: f32 = 1e-8;
// Whether gradients are multiplied by the factor that limits their norm.
const CLIPPED: bool = false;
// Whether gradients are multiplied by a loss scale, so that a step may have to be
// skipped.
const SCALED: bool = false;
const WG: u32 = 64u;
// Squares of parameters, of gradients.
alias Sum = vec2f;
// The flag that a gradient has overflowed, in the loss scale's state.
alias Overflow = u32;

@group(0) @binding(0) var<storage, read_write> params: array<vec4f>;
@group(0) @binding(1) var<storage, read> grads: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> momenta: array<vec4f>;
@group(0) @binding(3) var<storage, read> step: Step;
@group(0) @binding(4) var<storage, read> loss_scale: LossScale;
@group(0) @binding(5) var<storage, read> norm: array<vec2f>;    // 1: norm of all gradients, factor
@group(0) @binding(6) var<storage, read> segments: array<Segment>;
@group(0) @binding(7) var<storage, read> squares: array<vec2f>; // segments

// The sums of the segment's tensor.
var<workgroup> whole: vec2f;

// Grid: x, folded into y, one workgroup for each segment.
@compute @workgroup_size(WG)
fn update(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
          @builtin(local_invocation_id) local: vec3u) {
    let index = FIRST + flat_workgroup_xy(group, groups);
    if (index >= END) {
        return;
    }
    if (is_skipped()) {
        return;
    }
    let factor = gradient_factor();
    let own = segments[index];
    var sum = vec2f();
    for (var i = local.x; i < own.parts; i += WG) {
        sum += squares[own.of_tensor + i];
    }
    let partial = workgroup_sum(sum, local.x);
    if (local.x == 0u) {
        whole = partial;
    }
    workgroupBarrier();
    let norms = sqrt(whole);
    let length = factor * norms.y;
    let decay = select(0.0, step.weight_decay, own.decays != 0u);
    var rate = 1.0;
    if (own.adapts != 0u && norms.x > 0.0 && length > 0.0) {
        rate = TRUST * norms.x / (length + decay * norms.x + EPS);
    }
    for (var i = local.x; i < own.count; i += WG) {
        let at = own.first + i;
        let p = params[at];
        let g = rate * (factor * grads[at] + decay * p);
        let m = step.momentum * momenta[at] + g;
        momenta[at] = m;
        params[at] = p - step.lr * select(m, g + step.momentum * m, step.nesterov != 0u);
    }
}
