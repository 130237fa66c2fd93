"""How large are the rounding errors of Winograd's filtering with 6x6 tiles?

They depend on the interpolation points. For each pair of points +-near, +-far (in
addition to 0 and infinity) this prints two errors in 32 bits, each followed by the
error of a plain sum:

- weight gradient, F(3x3, 4x4), over 256 patches of random values: the largest
  error as a share of the mean magnitude of a sum's terms;
- convolution with 64 channels, F(4x4, 3x3): the root mean square error of the
  results as a share of their standard deviation.

The reference is computed in 64 bits. Needs numpy.
"""

import numpy as np

POINTS = {"±1, ±2": (1, 2), "±½, ±1": (0.5, 1), "±5/8, ±3/2": (0.625, 1.5), "±√½, ±√2": (0.5**0.5, 2**0.5)}
PATCHES, CHANNELS, ROUNDS = 256, 64, 12


def matrices(near, far, taps):
    """The transforms of the source, of `taps` filter values, and of the products."""
    points = [0, near, -near, far, -far]
    without = lambda skip: np.poly(np.delete(points, skip))[::-1]
    source = np.zeros((6, 6))
    filters = np.zeros((6, taps))
    for i, point in enumerate(points):
        source[i, :5] = without(i)
        scale = np.prod(point - np.delete(points, i))
        filters[i] = [point**power / scale for power in range(taps)]
    source[5] = np.poly(points)[::-1]
    filters[5, -1] = 1
    products = np.array([[point**power for point in points] + [0] for power in range(7 - taps)])
    products[-1, 5] = 1
    return [matrix.astype(np.float32) for matrix in (source, filters, products)]


def both_sides(matrix, values):
    """`matrix @ values @ matrix.T` for the last two axes of `values`."""
    rows = np.einsum("ij,...jk->...ik", matrix, values)
    return np.einsum("...ij,kj->...ik", rows, matrix)


def one_by_one(terms):
    """The sum over the first axis, in order, in 32 bits."""
    total = np.zeros_like(terms[0])
    for term in terms:
        total += term
    return total


def random(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def weights_errors(rng, points):
    """Errors of the weight gradient: Winograd's and the plain sum's."""
    source, gradient, products = matrices(*points, 4)
    x, dy = np.maximum(random(rng, PATCHES, 6, 6), 0), random(rng, PATCHES, 4, 4)
    terms = np.stack([x[:, i : i + 4, j : j + 4] * dy for i in range(3) for j in range(3)], -1)
    wide = np.stack(
        [x[:, i : i + 4, j : j + 4].astype(float) * dy.astype(float) for i in range(3) for j in range(3)], -1
    )
    truth, size = wide.sum((0, 1, 2)), np.abs(wide).sum((0, 1, 2)).mean()
    plain = one_by_one(terms.reshape(-1, 9))
    fast = both_sides(products, one_by_one(both_sides(source, x) * both_sides(gradient, dy)))
    return [np.abs(found.ravel() - truth).max() / size for found in (fast, plain)]


def forward_errors(rng, points):
    """Errors of the forward convolution: Winograd's and the plain sum's."""
    source, filters, products = matrices(*points, 3)
    x, w = np.maximum(random(rng, CHANNELS, PATCHES, 6, 6), 0), 0.06 * random(rng, CHANNELS, 1, 3, 3)
    terms = [
        x[c, :, i : i + 4, j : j + 4] * w[c, :, i : i + 1, j : j + 1]
        for c in range(CHANNELS)
        for i in range(3)
        for j in range(3)
    ]
    truth = sum(
        x[c, :, i : i + 4, j : j + 4].astype(float) * w[c, :, i : i + 1, j : j + 1].astype(float)
        for c in range(CHANNELS)
        for i in range(3)
        for j in range(3)
    )
    plain = one_by_one(terms)
    fast = both_sides(products, one_by_one(both_sides(source, x) * both_sides(filters, w)))
    return [np.sqrt(((found - truth) ** 2).mean()) / truth.std() for found in (fast, plain)]


rng = np.random.default_rng(1)
print(f"{'points':12} {'weights':>8} {'plain':>8}  {'forward':>8} {'plain':>8}")
for name, points in POINTS.items():
    weights = np.mean([weights_errors(rng, points) for _ in range(ROUNDS)], 0)
    forward = np.mean([forward_errors(rng, points) for _ in range(ROUNDS)], 0)
    print(f"{name:12} {weights[0]:8.1e} {weights[1]:8.1e}  {forward[0]:8.1e} {forward[1]:8.1e}")
