"""The loss as a plain float64 loop over pairs, straight from Eq. 2-9. Slow, and independent of the package."""

import numpy as np

RHO = {"absolute": abs, "squared": lambda x: x * x, "signed": lambda x: x}


def cosine_distance(a, b):
    scale_a, scale_b = np.abs(a).max(), np.abs(b).max()
    if scale_a == 0 or scale_b == 0:
        return 1.0
    a, b = a / scale_a, b / scale_b
    return max(0.0, 1 - a @ b / np.sqrt((a @ a) * (b @ b)))


def pair_distance(x, y, a, b):
    co_x = sum((a[r] + b[r]) * x[r] for r in range(len(a)))
    co_y = sum((a[r] + b[r]) * y[r] for r in range(len(a)))
    return cosine_distance(co_x, co_y)


def target_distances(u, c):
    n = len(u)
    d = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if i != j:
                d[i, j] = np.sqrt(
                    exact_zero(cosine_distance(u[i], u[j]), u[i], u[j])
                    * exact_zero(cosine_distance(c[i], c[j]), c[i], c[j])
                )
    mean = d.sum() / max(n * (n - 1), 1)
    return d / mean if mean > 0 else d


def exact_zero(distance, a, b):
    return 0.0 if np.array_equal(a, b) and a.any() else distance


def graph_pattern_loss(image, text, a, b, u, c, *, alpha, beta, discrepancy="absolute", where=None):
    """The loss and its three terms, as Python floats."""
    if a is None:
        image, text = image[:, None], text[:, None]
        a = b = np.ones((len(image), 1))
    arrays = [np.asarray(x, np.float64) for x in (image, text, a, b, u, c)]
    if where is not None:
        arrays = [x[where] for x in arrays]
    v, t, a, b, u, c = arrays
    n = len(v)
    if n == 0:
        return 0.0, (0.0, 0.0, 0.0)
    rho, d = RHO[discrepancy], target_distances(u, c)
    pairwise = unpaired = mutual = 0.0
    for i in range(n):
        pairwise += pair_distance(v[i], t[i], a[i], b[i]) / n
        for j in range(n):
            if i == j:
                continue
            vt = pair_distance(v[i], t[j], a[i], b[j])
            vv = pair_distance(v[i], v[j], a[i], a[j])
            tt = pair_distance(t[i], t[j], b[i], b[j])
            unpaired += (rho(vt - d[i, j]) + rho(vv - d[i, j]) + rho(tt - d[i, j])) / n**2
            mutual += (abs(vt - vv) + abs(vt - tt) + abs(vv - tt)) / n**2
    return pairwise + alpha * unpaired + beta * mutual, (pairwise, unpaired, mutual)
