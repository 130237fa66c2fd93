// Batch norm over N, H and W (Ioffe and Szegedy 2015), forward and backward.
//
// A sum over a channel takes two steps, both in a fixed order: a workgroup sums
// each chunk of images, then another one merges the chunks. Variances are merged
// from means and squared deviations (Chan et al. 1979), not computed as
// E[x²] − E[x]², which loses all digits where the mean is large.
//
// `normalize` also does the ReLU and the residual join that follow, and the
// gradients also apply the mask of the ReLU, recomputed from x by the same
// arithmetic: each saves a pass over the activations.

// import flat_index
// import nan
// import relu
// import workgroup_sum

// What an invocation computes at once: four neighbours of a row, or one element
// where planes do not divide by four.
alias V = vec4f;
// The same in memory.
alias Stored = V;
// Elements of V.
const WIDTH: u32 = 4u;
// Channels, and the size of a plane in V.
const C: u32 = 4u;
const PLANE: u32 = 16u;
// Images of one chunk, and the number of chunks before this dispatch's.
const IMAGES: u32 = 1u;
const FIRST_CHUNK: u32 = 0u;
// Elements of type V of a plane per invocation; divides PLANE.
const ITEMS: u32 = 1u;
// Added to the variance.
const EPS: f32 = 1e-5;
// Share of the batch in the running state.
const MOMENTUM: f32 = 0.1;
// One over N·H·W of the whole batch.
const PER_COUNT: f32 = 1.0;
// Whether a ReLU follows the normalisation; whether the residual join follows;
// and whether a ReLU follows the join.
const RELU: bool = false;
const JOIN: bool = false;
const JOIN_RELU: bool = false;
// Whether the statistics are the batch's, so that they depend on x.
const BATCH_STATS: bool = true;
// Whether y is the memory of x, or, in the gradient, that of dy.
const IN_PLACE: bool = false;
const WG: u32 = 64u;
// Σ g·x̂ and Σ g, of which a workgroup adds many.
alias Sum = vec2f;

// Invocations per plane.
const PLANE_INVOCATIONS: u32 = PLANE / ITEMS;

@group(0) @binding(0) var<storage, read> x: array<Stored>;             // N, C, PLANE
@group(0) @binding(1) var<storage, read> dy: array<Stored>;            // N, C, PLANE
@group(0) @binding(2) var<storage, read> stats: array<f32>;            // mean, 1/σ by C
@group(0) @binding(3) var<storage, read> affine: array<f32>;           // γ, β by C
@group(0) @binding(4) var<storage, read_write> moments: array<vec4f>;  // chunks, C: count, mean, Σ(x−mean)²
@group(0) @binding(5) var<storage, read> moments_in: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> new_stats: array<f32>;
@group(0) @binding(7) var<storage, read_write> running: array<f32>;    // mean, unbiased variance by C
@group(0) @binding(8) var<storage, read_write> y: array<Stored>;
@group(0) @binding(9) var<storage, read> shortcut: array<Stored>;
@group(0) @binding(10) var<storage, read> gains: array<vec4f>;         // of one block: branch, shortcut, and both backward
@group(0) @binding(11) var<storage, read_write> products: array<vec2f>; // chunks, C: Σ g·x̂, Σ g
@group(0) @binding(12) var<storage, read> products_in: array<vec2f>;
@group(0) @binding(13) var<storage, read_write> new_sums: array<f32>;  // Σ g·x̂, Σ g by C
@group(0) @binding(14) var<storage, read> sums: array<f32>;

var<workgroup> partial_moments: array<vec3f, WG>;

// Sum of the components.
fn total(v: V) -> f32 {
    let w = vec4f(v);
    return select(w.x, w.x + w.y + w.z + w.w, WIDTH == 4u);
}

// Count, mean and sum of squared deviations of the union of two sets.
fn merge(a: vec3f, b: vec3f) -> vec3f {
    let count = a.x + b.x;
    if (count == 0.0) {
        return a;
    }
    let delta = b.y - a.y;
    return vec3f(count, a.y + delta * (b.x / count), a.z + b.z + delta * delta * (a.x * b.x / count));
}

// Invocation 0 gets the moments of all sets `own` of the workgroup, merged in a
// fixed order: a binary tree.
fn workgroup_moments(own: vec3f, index: u32) -> vec3f {
    partial_moments[index] = own;
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (index < half) {
            partial_moments[index] = merge(partial_moments[index], partial_moments[index + half]);
        }
    }
    return partial_moments[index];
}

// Count, mean and sum of squared deviations of each chunk of images.
// Grid: x over chunks of images, y over channels.
@compute @workgroup_size(WG)
fn chunk_moments(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let c = group.y;
    let first = group.x * IMAGES;
    let last = min(first + IMAGES, arrayLength(&x) / (C * PLANE));
    let count = (last - first) * PLANE_INVOCATIONS;
    // A shift near the mean keeps the squares small.
    let shift = vec4f(V(x[(first * C + c) * PLANE])).x;
    var sum = V();
    var squares = V();
    for (var i = local.x; i < count; i += WG) {
        let at = ((first + i / PLANE_INVOCATIONS) * C + c) * PLANE + i % PLANE_INVOCATIONS;
        for (var item = 0u; item < ITEMS; item++) { // unroll
            let d = V(x[at + item * PLANE_INVOCATIONS]) - V(shift);
            sum += d;
            squares += d * d;
        }
    }
    let own = f32((max(count, local.x) - local.x + WG - 1u) / WG * ITEMS * WIDTH);
    let mean = total(sum) / max(own, 1.0);
    let all = workgroup_moments(vec3f(own, shift + mean, at_least_zero(total(squares) - mean * mean * own)), local.x);
    if (local.x == 0u) {
        moments[(FIRST_CHUNK + group.x) * C + c] = vec4f(all, 0.0);
    }
}

// Also updates the running state, by the unbiased variance, as PyTorch does.
// Grid: x over channels.
@compute @workgroup_size(WG)
fn merge_moments(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let c = group.x;
    let chunks = arrayLength(&moments_in) / C;
    var own = vec3f();
    for (var i = local.x; i < chunks; i += WG) {
        own = merge(own, moments_in[i * C + c].xyz);
    }
    let all = workgroup_moments(own, local.x);
    if (local.x == 0u) {
        new_stats[c] = all.y;
        new_stats[C + c] = inverseSqrt(all.z / all.x + EPS);
        running[c] = mix(running[c], all.y, MOMENTUM);
        running[C + c] = mix(running[C + c], all.z / max(all.x - 1.0, 1.0), MOMENTUM);
    }
}

// Grid: x over channels, by WG.
@compute @workgroup_size(WG)
fn running_stats(@builtin(global_invocation_id) id: vec3u) {
    let c = id.x;
    if (c < C) {
        new_stats[c] = running[c];
        new_stats[C + c] = inverseSqrt(running[C + c] + EPS);
    }
}

// The element of x.
fn input(at: u32) -> V {
    if (IN_PLACE) { // static
        return V(y[at]);
    } else {
        return V(x[at]);
    }
}

// Grid: x, folded into y, over planes × PLANE_INVOCATIONS.
@compute @workgroup_size(WG)
fn normalize(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
             @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    let plane = index / PLANE_INVOCATIONS;
    if (plane >= arrayLength(&y) / PLANE) {
        return;
    }
    let c = plane % C;
    let scale = affine[c] * stats[C + c];
    let offset = affine[C + c] - stats[c] * scale;
    let first = plane * PLANE + index % PLANE_INVOCATIONS;
    if (JOIN) { // static
        // A summand with gain 0 was not computed and must not be read.
        let gain = gains[0];
        var v: array<V, ITEMS>;
        if (gain.x != 0.0) {
            for (var i = 0u; i < ITEMS; i++) { // unroll
                let normal = input(first + i * PLANE_INVOCATIONS) * scale + offset;
                if (RELU) { // static
                    v[i] = gain.x * relu_of(normal);
                } else {
                    v[i] = gain.x * normal;
                }
            }
        }
        if (gain.y != 0.0) {
            for (var i = 0u; i < ITEMS; i++) { // unroll
                v[i] += gain.y * V(shortcut[first + i * PLANE_INVOCATIONS]);
            }
        }
        for (var i = 0u; i < ITEMS; i++) { // unroll
            if (JOIN_RELU) { // static
                y[first + i * PLANE_INVOCATIONS] = Stored(relu_of(v[i]));
            } else {
                y[first + i * PLANE_INVOCATIONS] = Stored(v[i]);
            }
        }
    } else {
        for (var i = 0u; i < ITEMS; i++) { // unroll
            let normal = input(first + i * PLANE_INVOCATIONS) * scale + offset;
            if (RELU) { // static
                y[first + i * PLANE_INVOCATIONS] = Stored(relu_of(normal));
            } else {
                y[first + i * PLANE_INVOCATIONS] = Stored(normal);
            }
        }
    }
}

// Σ g·x̂ and Σ g of each chunk of images.
// Grid: x over chunks of images, y over channels.
@compute @workgroup_size(WG)
fn chunk_sums(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let c = group.y;
    let first = group.x * IMAGES;
    let last = min(first + IMAGES, arrayLength(&x) / (C * PLANE));
    let count = (last - first) * PLANE_INVOCATIONS;
    let mean = stats[c];
    let rstd = stats[C + c];
    var scale = 0.0;
    var offset = 0.0;
    if (RELU) { // static
        scale = affine[c] * rstd;
        offset = affine[C + c] - mean * scale;
    }
    var sum_gx = V();
    var sum_g = V();
    for (var i = local.x; i < count; i += WG) {
        let at = ((first + i / PLANE_INVOCATIONS) * C + c) * PLANE + i % PLANE_INVOCATIONS;
        for (var item = 0u; item < ITEMS; item++) { // unroll
            let v = V(x[at + item * PLANE_INVOCATIONS]);
            var g = V(dy[at + item * PLANE_INVOCATIONS]);
            if (RELU) { // static
                g = where_active(g, v * scale + offset);
            }
            sum_g += g;
            sum_gx += g * ((v - mean) * rstd);
        }
    }
    let all = workgroup_sum(vec2f(total(sum_gx), total(sum_g)), local.x);
    if (local.x == 0u) {
        products[(FIRST_CHUNK + group.x) * C + c] = all;
    }
}

// Grid: x over channels.
@compute @workgroup_size(WG)
fn merge_sums(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let c = group.x;
    let chunks = arrayLength(&products_in) / C;
    var own = vec2f();
    for (var i = local.x; i < chunks; i += WG) {
        own += products_in[i * C + c];
    }
    let all = workgroup_sum(own, local.x);
    if (local.x == 0u) {
        new_sums[c] = all.x;
        new_sums[C + c] = all.y;
    }
}

// The element of dy.
fn output_gradient(at: u32) -> V {
    if (IN_PLACE) { // static
        return V(y[at]);
    } else {
        return V(dy[at]);
    }
}

// Grid: x, folded into y, over planes × PLANE_INVOCATIONS.
@compute @workgroup_size(WG)
fn input_gradient(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
              @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    let plane = index / PLANE_INVOCATIONS;
    if (plane >= arrayLength(&y) / PLANE) {
        return;
    }
    let c = plane % C;
    let mean = stats[c];
    let rstd = stats[C + c];
    let scale = affine[c] * rstd;
    let offset = affine[C + c] - mean * scale;
    // dx = scale · (g − Σg/M − x̂ · Σgx̂/M), as a linear function of x.
    let slope = scale * rstd * sums[c] * PER_COUNT;
    let constant = slope * mean - scale * sums[C + c] * PER_COUNT;
    let first = plane * PLANE + index % PLANE_INVOCATIONS;
    for (var i = 0u; i < ITEMS; i++) { // unroll
        let at = first + i * PLANE_INVOCATIONS;
        var g = output_gradient(at);
        if (RELU) { // static
            g = where_active(g, V(x[at]) * scale + offset);
        }
        if (BATCH_STATS) { // static
            y[at] = Stored(scale * g - slope * V(x[at]) + constant);
        } else {
            y[at] = Stored(scale * g);
        }
    }
}
