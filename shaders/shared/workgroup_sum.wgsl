// Sum over the invocations of a workgroup, in a fixed order: a binary tree. The
// importing file declares WG, a power of two, and what is added, as `alias Sum`.

var<workgroup> partial_sums: array<Sum, WG>;

// Invocation 0 gets the sum of all `own`, the others get parts of it. All
// invocations of the workgroup must call it.
fn workgroup_sum(own: Sum, index: u32) -> Sum {
    partial_sums[index] = own;
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (index < half) {
            partial_sums[index] += partial_sums[index + half];
        }
    }
    return partial_sums[index];
}
