// How sure the network is inside one cell: the largest softmax of the interpolated logits, or the largest of them where
// they are probabilities.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>

#include "cells.hpp"
#include "logits.hpp"
#include "simd.hpp"
#include "taps.hpp"

namespace edgeseg {

constexpr int rows_at_once = 4;  // enough to hide the latency of the multiplications

// Whether the rows [y0, y1) are the same distance apart, to the bit.
inline bool evenly_spaced(const Axis& down, int y0, int y1) {
    const auto at = [&](int y) { return down.weight[static_cast<std::size_t>(y)]; };
    bool even = true;
    for (int y = y0 + 2; y < y1; ++y) {
        even = even && at(y) - at(y - 1) == at(y0 + 1) - at(y0);
    }
    return even;
}

EDGESEG_INLINE bool any_above(const Floats& values, float bound) {
    bool any = false;
    for (int i = 0; i < lanes; ++i) {
        any = any || values[i] > bound;
    }
    return any;
}

// Eight columns of one cell, n classes: room.top and room.bottom hold their values on its upper and lower edge.
struct Columns {
    int n, x, pixels;
    Contest& room;
    const Axis& down;
    const Patch& to;

    EDGESEG_INLINE void write(int y, const Floats& share) const {
        float shares[lanes];
        store(shares, share);
        put(to.confidence + static_cast<std::ptrdiff_t>(y) * to.width + x, shares, pixels);
    }

    EDGESEG_INLINE void value(Floats& out, int s, int y) const {
        const float lower = down.weight[static_cast<std::size_t>(y)];
        Floats top, bottom;
        load(top, room.top.data() + s * lanes), load(bottom, room.bottom.data() + s * lanes);
        out = (1.0f - lower) * top + lower * bottom;
    }

    // Row by row: the largest, then all powers. `binary_scale` 0: the largest is the answer.
    EDGESEG_INLINE void each_row(float binary_scale) const {
        for (int y = to.y0; y < to.y1; ++y) {
            Floats best, v, sum{};
            value(best, 0, y);
            for (int s = 1; s < n; ++s) {
                value(v, s, y);
                best = v > best ? v : best;
            }
            for (int s = 0; s < n && binary_scale != 0.0f; ++s) {
                value(v, s, y);
                v = (v - best) * binary_scale;
                exponential(v);
                sum += v;
            }
            write(y, binary_scale != 0.0f ? 1.0f / sum : best);
        }
    }

    // Down a column a value changes by the same amount from row to row, and its power by the same factor: two powers
    // per class, and then a multiplication per row. Every 32 rows anew, so that rounding does not add up.
    EDGESEG_INLINE void all_rows(float binary_scale, const Floats& peak) const {
        const float* const weight = down.weight.data();
        const float step = to.y1 - to.y0 > 1 ? weight[to.y0 + 1] - weight[to.y0] : 0.0f;
        float* const powers = room.powers.data();
        float* const rates = room.rates.data();
        for (int begin = to.y0; begin < to.y1; begin += 32) {
            for (int s = 0; s < n; ++s) {
                Floats power, top, rate;
                value(power, s, begin);
                power = (power - peak) * binary_scale;
                exponential(power);
                store(powers + s * lanes, power);
                load(top, room.top.data() + s * lanes), load(rate, room.bottom.data() + s * lanes);
                rate = (rate - top) * (step * binary_scale);
                exponential(rate);
                store(rates + s * lanes, rate);
            }
            const int end = std::min(begin + 32, to.y1);
            for (int y = begin; y < end; y += rows_at_once) {
                Floats sum[rows_at_once] = {}, best[rows_at_once] = {};
                for (int s = 0; s < n; ++s) {
                    Floats power, rate;
                    load(power, powers + s * lanes), load(rate, rates + s * lanes);
                    for (int r = 0; r < rows_at_once; ++r) {
                        sum[r] += power;
                        best[r] = power > best[r] ? power : best[r];
                        power *= rate;
                    }
                    store(powers + s * lanes, power);
                }
                for (int r = 0; r < rows_at_once && y + r < end; ++r) {
                    write(y + r, best[r] / sum[r]);
                }
            }
        }
    }
};

// Of one cell, between the n classes of room.classes. All corners are finite. `scale` is that of the logits; 0 says
// that they are probabilities. `even`: the rows are evenly spaced.
EDGESEG_INLINE void confidence_of(const Corners& at, int n, Contest& room, const Axis& across, const Axis& down,
                                  float scale, bool even, const Patch& to) {
    const float binary_scale = scale * binary;
    for (int x = to.x0; x < to.x1; x += lanes) {
        Floats right, low, peak, top, bottom;
        load(right, across.weight.data() + x);
        edges(at, n, room, right);
        load(low, room.top.data());
        peak = low;
        for (int s = 0; s < n; ++s) {
            load(top, room.top.data() + s * lanes), load(bottom, room.bottom.data() + s * lanes);
            low = top < low ? top : low;
            low = bottom < low ? bottom : low;
            peak = top > peak ? top : peak;
            peak = bottom > peak ? bottom : peak;
        }
        const Columns columns{n, x, std::min(to.x1 - x, lanes), room, down, to};
        const Floats range = (peak - low) * binary_scale;
        if (scale == 0.0f || !even || any_above(range, 120.0f)) {  // beyond it, powers leave what a float holds
            columns.each_row(binary_scale);
        } else {
            columns.all_rows(binary_scale, peak);
        }
    }
}

}  // namespace edgeseg
