// Softmax cross-entropy, its gradient, and the step's metrics.

// import loss_scale_state
// import nan
// import step
// import workgroup_sum

const CLASSES: u32 = 10u;
const WG: u32 = 64u;
// A logit, and its gradient, in memory.
alias Stored = f32;
// Whether the gradient is multiplied by the loss scale.
const SCALED: bool = false;
// The part of a soft target that is spread over all classes.
const SMOOTHING: f32 = 0.0;
// The flag that a gradient has overflowed, in the loss scale's state.
alias Overflow = u32;
// What a workgroup adds: losses and numbers of errors.
alias Sum = vec2f;

// Whose image it is: `label`, and `other` with this share of it.
struct SoftTarget {
    label: u32,
    other: u32,
    share: f32,
}

@group(0) @binding(0) var<storage, read> logits: array<Stored>;         // N, CLASSES
@group(0) @binding(1) var<storage, read> labels: array<u32>;            // N
@group(0) @binding(2) var<storage, read_write> results: array<vec2f>;   // N: loss in nats, 1 if wrong
@group(0) @binding(3) var<storage, read_write> gradient: array<Stored>; // N, CLASSES
@group(0) @binding(4) var<storage, read> results_in: array<vec2f>;
@group(0) @binding(5) var<storage, read_write> metrics: array<vec2f>;   // slots: mean loss, number wrong
@group(0) @binding(6) var<storage, read> step: Step;
@group(0) @binding(7) var<storage, read> loss_scale: LossScale;
@group(0) @binding(8) var<storage, read> soft_targets: array<SoftTarget>; // N

// The first of the largest logits of a row; the first NaN where there is one.
fn largest(row: u32) -> u32 {
    var place = 0u;
    var best = order_of(f32(logits[row]));
    for (var i = 1u; i < CLASSES; i++) {
        let order = order_of(f32(logits[row + i]));
        if (order > best) {
            best = order;
            place = i;
        }
    }
    return place;
}

// The sum over the classes of a row of exp(logit − best).
fn exponential_sum(row: u32, best: f32) -> f32 {
    var sum = 0.0;
    for (var i = 0u; i < CLASSES; i++) {
        sum += exp(f32(logits[row + i]) - best);
    }
    return sum;
}

// The gradient of an image whose loss is NaN because of the logit `best`.
fn write_nan(row: u32, best: f32) {
    for (var i = 0u; i < CLASSES; i++) {
        gradient[row + i] = Stored(to_nan(best));
    }
}

// Loss of each image, and whether its class is wrong. The loss is NaN where a logit
// is NaN or +∞, as in PyTorch; an image whose loss is not finite counts as wrong.
// Grid: x over images / WG.
@compute @workgroup_size(WG)
fn cross_entropy(@builtin(global_invocation_id) id: vec3u) {
    let n = id.x;
    if (n >= arrayLength(&labels)) {
        return;
    }
    let row = n * CLASSES;
    let winner = largest(row);
    let best = f32(logits[row + winner]);
    let sum = exponential_sum(row, best);
    let label = labels[n];
    var loss = log(sum) + best - f32(logits[row + label]);
    if (is_endless(best)) {
        loss = to_nan(best);
    }
    results[n] = vec2f(loss, select(0.0, 1.0, winner != label || is_endless(loss)));
}

// Gradient of the mean loss of the whole batch with respect to the logits; NaN for every
// class where the image's loss is NaN.
// Grid: x over images / WG.
@compute @workgroup_size(WG)
fn cross_entropy_gradient(@builtin(global_invocation_id) id: vec3u) {
    let n = id.x;
    if (n >= arrayLength(&labels)) {
        return;
    }
    let row = n * CLASSES;
    let best = f32(logits[row + largest(row)]);
    if (is_endless(best)) {
        write_nan(row, best);
        return;
    }
    let sum = exponential_sum(row, best);
    var scale = 1.0;
    if (SCALED) { // static
        scale = loss_scale.scale;
    }
    let images = f32(step.batch_images);
    let per = scale / (sum * images);
    let label = labels[n];
    for (var i = 0u; i < CLASSES; i++) {
        let share = exp(f32(logits[row + i]) - best) * per;
        gradient[row + i] = Stored(select(share, share - scale / images, i == label));
    }
}

// The part of a target that class `i` is, before smoothing.
fn share_of(soft: SoftTarget, i: u32) -> f32 {
    return select(0.0, 1.0 - soft.share, i == soft.label) + select(0.0, soft.share, i == soft.other);
}

// As `cross_entropy`, of soft targets. An image is wrong by the share of its target
// that the largest logit is not.
// Grid: x over images / WG.
@compute @workgroup_size(WG)
fn soft_cross_entropy(@builtin(global_invocation_id) id: vec3u) {
    let n = id.x;
    if (n >= arrayLength(&soft_targets)) {
        return;
    }
    let row = n * CLASSES;
    let winner = largest(row);
    let best = f32(logits[row + winner]);
    let soft = soft_targets[n];
    let own = f32(logits[row + soft.label]) - best;
    let others = f32(logits[row + soft.other]) - best;
    var loss = log(exponential_sum(row, best)) - (1.0 - SMOOTHING) * ((1.0 - soft.share) * own + soft.share * others);
    if (SMOOTHING > 0.0) {
        var all = 0.0;
        for (var i = 0u; i < CLASSES; i++) {
            all += f32(logits[row + i]) - best;
        }
        loss -= SMOOTHING / f32(CLASSES) * all;
    }
    if (is_endless(best)) {
        loss = to_nan(best);
    }
    let right = share_of(soft, winner);
    results[n] = vec2f(loss, select(1.0 - right, 1.0, is_endless(loss)));
}

// As `cross_entropy_gradient`, of soft targets.
// Grid: x over images / WG.
@compute @workgroup_size(WG)
fn soft_cross_entropy_gradient(@builtin(global_invocation_id) id: vec3u) {
    let n = id.x;
    if (n >= arrayLength(&soft_targets)) {
        return;
    }
    let row = n * CLASSES;
    let best = f32(logits[row + largest(row)]);
    if (is_endless(best)) {
        write_nan(row, best);
        return;
    }
    let sum = exponential_sum(row, best);
    var scale = 1.0 / f32(step.batch_images);
    if (SCALED) { // static
        scale *= loss_scale.scale;
    }
    let soft = soft_targets[n];
    for (var i = 0u; i < CLASSES; i++) {
        let goal = (1.0 - SMOOTHING) * share_of(soft, i) + SMOOTHING / f32(CLASSES);
        gradient[row + i] = Stored(scale * (exp(f32(logits[row + i]) - best) / sum - goal));
    }
}

// Writes mean loss and number of errors of the batch to the slot of the step; the parts
// of a batch are added in their order.
// Grid: one workgroup.
@compute @workgroup_size(WG)
fn record(@builtin(local_invocation_id) local: vec3u) {
    var own = vec2f();
    for (var i = local.x; i < arrayLength(&results_in); i += WG) {
        own += results_in[i];
    }
    let all = workgroup_sum(own, local.x);
    if (local.x == 0u) {
        var before = vec2f();
        if (step.first_image > 0u) {
            before = metrics[step.slot];
        }
        metrics[step.slot] = before + vec2f(all.x / f32(step.batch_images), all.y);
    }
}
