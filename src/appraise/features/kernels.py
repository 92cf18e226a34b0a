"""Compiled summaries of a row's comparable sales: the inner loop of `comparables`.

All functions work on preallocated buffers, take neighbours nearest first, and write from position `at` of `out`,
returning the next free position. Prices are on the model's scale (logarithms under a log target).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from appraise.features.geometry import place_of
from appraise.features.neighbours import distance_of, insert, nearest, position_of, workspace

#: Columns of a pool record before its attributes: price, day, x, y.
PRICE, DAY, X, Y, ATTRIBUTES = 0, 1, 2, 3, 4

#: Rows of a local plane keep at least this share of the weight of the nearest one.
_EDGE_WEIGHT = 0.05

#: Ridge penalties of local planes, per unit of weight, on position alone and on position with attributes.
_PLACE_RIDGE = 0.01
_ATTRIBUTE_RIDGE = 0.03

_FAST = {"contract", "reassoc", "nsz"}


@njit(cache=True, nogil=True, fastmath=_FAST)
def _inverse_distance_means(price, distance, count, sizes, softening, out, at):  # type: ignore[no-untyped-def]
    """Inverse-distance means of the nearest `sizes`, then the standard deviation of all."""
    weights = weighted = total = squares = 0.0
    step = 0
    for i in range(count):
        weight = 1.0 / (distance[i] + softening)
        weights += weight
        weighted += weight * price[i]
        total += price[i]
        squares += price[i] * price[i]
        if step < sizes.shape[0] and i + 1 == sizes[step]:
            out[at + step] = weighted / weights
            step += 1
    for rest in range(step, sizes.shape[0]):
        out[at + rest] = weighted / weights
    at += sizes.shape[0]
    mean = total / count
    out[at] = np.sqrt(max(squares / count - mean * mean, 0.0))
    return at + 1


@njit(cache=True, nogil=True)
def _quantiles(price, count, sizes, probabilities, buffer, out, at):  # type: ignore[no-untyped-def]
    """Quantiles of the nearest `sizes` prices, `sizes` ascending."""
    done = 0
    buffer[:] = np.inf
    for step in range(sizes.shape[0]):
        n = min(count, sizes[step])
        for i in range(done, n):
            insert(buffer[: i + 1], price[i])
        done = n
        for p in range(probabilities.shape[0]):
            position = probabilities[p] * (n - 1)
            low = int(position)
            share = position - low
            high = min(low + 1, n - 1)
            out[at] = buffer[low] * (1.0 - share) + buffer[high] * share
            at += 1
    return at


@njit(cache=True, nogil=True, fastmath=_FAST)
def _gaussian_means(price, distance, count, bandwidths, out, at):  # type: ignore[no-untyped-def]
    """Means with Gaussian weights in distance; the nearest sale keeps a little weight however far it is."""
    for band in range(bandwidths.shape[0]):
        precision = 0.5 / (bandwidths[band] * bandwidths[band])
        weights = weighted = 0.0
        for i in range(count):
            weight = np.exp(-distance[i] * distance[i] * precision) + 1e-9
            weights += weight
            weighted += weight * price[i]
        out[at + band] = weighted / weights
    return at + bandwidths.shape[0]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _context(difference, own, count, sizes, spread_size, attributes, out, at):  # type: ignore[no-untyped-def]
    """What the neighbours are like, by attribute.

    The spread and the home's rank among the nearest `spread_size`, then for each of `sizes` how the home differs from
    the neighbours' mean, and that mean.
    """
    for attribute in range(attributes):
        total = squares = 0.0
        below = 0
        step = 0
        for i in range(count):
            value = difference[2 + attribute, i]
            total += value
            squares += value * value
            if i < spread_size and value < 0:
                below += 1
            if i + 1 == spread_size or (i + 1 == count and count < spread_size):
                mean = total / (i + 1)
                out[at] = np.sqrt(max(squares / (i + 1) - mean * mean, 0.0))
                out[at + 1] = below / (i + 1)
            if step < sizes.shape[0] and (i + 1 == sizes[step]):
                out[at + 2 + 2 * step] = -total / (i + 1)
                out[at + 3 + 2 * step] = own[ATTRIBUTES + attribute] + total / (i + 1)
                step += 1
        for rest in range(step, sizes.shape[0]):
            out[at + 2 + 2 * rest] = -total / count
            out[at + 3 + 2 * rest] = own[ATTRIBUTES + attribute] + total / count
        at += 2 + 2 * sizes.shape[0]
    return at


@njit(cache=True, nogil=True, fastmath=_FAST)
def _plane(design, price, weight, count, width, ridge, residual, weighted, gram, solution):  # type: ignore[no-untyped-def]
    """Intercept of a weighted ridge regression of price on the rows of `design`, the first of ones: the price here."""
    mean = weights = 0.0
    for i in range(count):
        mean += weight[i] * price[i]
        weights += weight[i]
    mean /= weights
    for i in range(count):
        residual[i] = price[i] - mean
    # Sums along rows of neighbours, which the compiler takes several at a time.
    for a in range(width):
        column = design[a]
        total = 0.0
        for i in range(count):
            weighted[i] = weight[i] * column[i]
            total += weighted[i] * residual[i]
        solution[a] = total
        for b in range(a + 1):
            other = design[b]
            total = 0.0
            for i in range(count):
                total += weighted[i] * other[i]
            gram[a, b] = total
    gram[0, 0] += 1e-6 * weights
    for a in range(1, width):
        gram[a, a] += ridge * weights
    # Cholesky in place, from the last column to the first, so that the intercept comes out of one division.
    for a in range(width - 1, -1, -1):
        pivot = 1.0 / max(gram[a, a], 1e-12)
        scaled = solution[a] * pivot
        for b in range(a):
            factor = gram[a, b] * pivot
            solution[b] -= gram[a, b] * scaled
            for c in range(b + 1):
                gram[b, c] -= factor * gram[a, c]
    return solution[0] / max(gram[0, 0], 1e-12) + mean


@njit(cache=True, nogil=True, fastmath=_FAST)
def summarise(  # type: ignore[no-untyped-def]
    points,
    index,
    days,
    lower,
    upper,
    first_day,
    records,
    own,
    before,
    exclude,
    dimensions,
    factors,
    k,
    most_leaves,
    mean_sizes,
    quantile_sizes,
    probabilities,
    distance_sizes,
    bandwidths,
    context_sizes,
    spread_size,
    place_planes,
    attribute_planes,
    softening,
    dated,
    out,
    start,
    stop,
):
    """Write the summary of each row's neighbours in one metric.

    Args:
        points, index, days, lower, upper, first_day: a `neighbours.Tree`.
        records: (pool, 4 + m) price, day, x, y and m standardised attributes of each sale.
        own: (n, 4 + m) the rows in the layout of `records`; prices are not read.
        before: (n,) only sales of an earlier day count.
        exclude: (n,) position in the pool of the row itself, -1 where it is not in it.
        dimensions, factors: (d,) columns of a record that are the coordinates, and what they are multiplied by.
        k: neighbours sought.
        most_leaves: leaves of the tree that are searched.
        mean_sizes, quantile_sizes, probabilities, distance_sizes, bandwidths, context_sizes, spread_size,
            place_planes, attribute_planes: what to compute; empty arrays leave a part out.
        softening: added to distances before they are inverted.
        dated: whether the mean age of the neighbours is a feature.
        out: (n, width) result, of which columns `start` to `stop` are written; NaN in rows without any neighbour.
    """
    attributes = records.shape[1] - ATTRIBUTES
    work = workspace(k)
    found = work[0]
    price = np.empty(k)
    distance = np.empty(k)
    weight = np.empty(k)
    buffer = np.empty(k)
    residual = np.empty(k)
    weighted = np.empty(k)
    difference = np.empty((2 + attributes, k))
    design = np.empty((3 + attributes, k))
    design[0] = 1.0
    gram = np.empty((3 + attributes, 3 + attributes))
    solution = np.empty(3 + attributes)
    query = np.empty(dimensions.shape[0], np.float32)
    for row in range(own.shape[0]):
        for dim in range(dimensions.shape[0]):
            query[dim] = own[row, dimensions[dim]] * factors[dim]
        count = nearest(
            points, index, days, lower, upper, first_day, query, before[row], exclude[row], most_leaves, work
        )
        result = out[row, start:stop]
        if count == 0:
            result[:] = np.nan
            continue
        age = 0.0
        for i in range(count):
            sale = records[position_of(found[i])]
            distance[i] = distance_of(found[i])
            price[i] = sale[PRICE]
            age += own[row, DAY] - sale[DAY]
            for a in range(2 + attributes):
                difference[a, i] = sale[X + a] - own[row, X + a]
        result[0] = price[0]
        at = _inverse_distance_means(price, distance, count, mean_sizes, softening, result, 1)
        if quantile_sizes.shape[0]:
            at = _quantiles(price, count, quantile_sizes, probabilities, buffer, result, at)
        for step in range(distance_sizes.shape[0]):
            result[at] = np.log(distance[min(distance_sizes[step], count) - 1] + 1e-3)
            at += 1
        if dated:
            result[at] = age / count
            at += 1
        if bandwidths.shape[0]:
            at = _gaussian_means(price, distance, count, bandwidths, result, at)
        if context_sizes.shape[0]:
            at = _context(difference, own[row], count, context_sizes, spread_size, attributes, result, at)
        for step in range(place_planes.shape[0] + attribute_planes.shape[0]):
            with_attributes = step >= place_planes.shape[0]
            size = attribute_planes[step - place_planes.shape[0]] if with_attributes else place_planes[step]
            n = min(count, size)
            reach = distance[n - 1] + 1e-3
            span = 1e-12
            for i in range(n):
                span = max(span, difference[0, i] * difference[0, i] + difference[1, i] * difference[1, i])
            span = np.sqrt(span)
            for i in range(n):
                near = distance[i] / reach
                weight[i] = max(1.0 - near * near * near, _EDGE_WEIGHT)
                design[1, i] = difference[0, i] / span
                design[2, i] = difference[1, i] / span
            if with_attributes:
                design[3:, :n] = difference[2:, :n]
            width = 3 + attributes if with_attributes else 3
            ridge = _ATTRIBUTE_RIDGE if with_attributes else _PLACE_RIDGE
            result[at] = _plane(design, price, weight, n, width, ridge, residual, weighted, gram, solution)
            at += 1


@njit(cache=True, nogil=True)
def standardise(  # type: ignore[no-untyped-def]
    place, latitude, longitude, km_east, km_north, values, fill, log_shift, centre, scale, farthest, out
):
    """Write places and attributes as `Comparables` measures them: projected; filled, logged, centred, scaled, cut off.

    Args:
        place: (n, 2) latitude and longitude in degrees, or (0, 2) where nothing is placed.
        latitude, longitude: the origin, which also stands for a missing place.
        km_east, km_north: kilometres of a degree of longitude and of latitude.
        values: (n, m) attributes.
        fill: (m,) what stands for a missing value.
        log_shift: (m,) what is added before the logarithm is taken; 0 takes none.
        centre, scale: (m,) mean and standard deviation.
        farthest: standard deviations at which a value is cut off.
        out: (n, 4 + m) records, whose places and attributes are written.
    """
    for row in range(place.shape[0]):
        north, east = place[row, 0], place[row, 1]
        north = latitude if np.isnan(north) else north
        east = longitude if np.isnan(east) else east
        out[row, X], out[row, Y] = place_of(north, east, latitude, longitude, km_east, km_north)
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            value = values[row, column]
            if np.isnan(value):
                value = fill[column]
            if log_shift[column] > 0:
                # A request may name a size below anything seen in training, where the logarithm has no value.
                value = np.log(max(value, 0.0) + log_shift[column])
            out[row, ATTRIBUTES + column] = min(max((value - centre[column]) / scale[column], -farthest), farthest)
