// Stochastic gradient descent with momentum, Nesterov momentum and weight
// decay, as PyTorch defines them (no dampening), on all parameters at once:
//
//     g ← g + weight_decay · p
//     m ← momentum · m + g
//     p ← p − lr · (nesterov ? g + momentum · m : m)

// import flat_index
// import gradient_factor
// import loss_scale_state
// import step

// Vectors of four parameters before this dispatch's range, and the number of them
// with weight decay. Parameters without it come last.
const FIRST: u32 = 0u;
const DECAYED: u32 = 0xffffffffu;
// Whether gradients are multiplied by the factor that limits their norm.
const CLIPPED: bool = false;
// Whether gradients are multiplied by a loss scale, so that a step may have to be
// skipped.
const SCALED: bool = false;
const WG: u32 = 64u;
// The flag that a gradient has overflowed, in the loss scale's state.
alias Overflow = u32;

@group(0) @binding(0) var<storage, read_write> params: array<vec4f>;
@group(0) @binding(1) var<storage, read> grads: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> momenta: array<vec4f>;
@group(0) @binding(3) var<storage, read> step: Step;
@group(0) @binding(4) var<storage, read> loss_scale: LossScale;
@group(0) @binding(5) var<storage, read> norm: array<vec2f>; // 1: norm of all gradients, factor

// Grid: x, folded into y, over parameters / 4.
@compute @workgroup_size(WG)
fn update(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
          @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index >= arrayLength(&params)) {
        return;
    }
    if (is_skipped()) {
        return;
    }
    let decay = select(0.0, step.weight_decay, FIRST + index < DECAYED);
    let p = params[index];
    let g = gradient_factor() * grads[index] + decay * p;
    let m = step.momentum * momenta[index] + g;
    momenta[index] = m;
    params[index] = p - step.lr * select(m, g + step.momentum * m, step.nesterov != 0u);
}
