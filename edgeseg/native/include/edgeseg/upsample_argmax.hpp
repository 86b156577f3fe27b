// From a network's coarse logits to a label per pixel, without upsampling every class.
//
//     edgeseg::Labeller labeller;  // keep it: buffers are made at the first call of a size
//     edgeseg::Logits<float> logits{data, 19, 64, 128};
//     labeller(logits, edgeseg::Resampling{}, edgeseg::Labels{labels, 512, 1024});
//
// Labels are those of argmax over classes of torch.nn.functional.interpolate, ties going to the lower class, except at
// pixels whose two best interpolated logits differ by less than a few float32 ulps of the largest corner's magnitude.
// Around a NaN or an infinity there is no exception: NaN counts as the largest, and infinity times 0 is NaN, as in
// torch. float16 and int8 logits count as the float32 of the same value.
//
// The idea is that of edgeseg/pixels.py: bilinear values lie between the smallest and the largest of a cell's four
// corners, so most cells of a real map belong to one class, and in the others few classes can win.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "cells.hpp"
#include "confidence.hpp"
#include "logits.hpp"
#include "overlay.hpp"
#include "simd.hpp"
#include "taps.hpp"

namespace edgeseg {

// How logits are upsampled. The window is the part of the map that the labels cover, in logits pixels: that under a
// letterboxed frame, say. 0 for height and width: the whole map. Its sizes are positive and finite, and at least 1 for
// align_corners, which counts from centre to centre.
//
// half_pixel reads at top + (y + 0.5) * height / H - 0.5; asymmetric at top + y * height / H; align_corners at
// top + y * (height - 1) / (H - 1). Beyond the map its edge goes on. nearest takes the pixel that this falls on:
// rounded down for asymmetric (torch's "nearest"), to the nearest for the others, half up (torch's "nearest-exact").
struct Resampling {
    Coordinates coordinates = Coordinates::half_pixel;
    Interpolation interpolation = Interpolation::bilinear;
    float top = 0, left = 0, height = 0, width = 0;
};

// What is answered: labels uint8 (height, width), packed, and where asked float32 (height, width), packed, the softmax
// over classes of the upsampled logits at its largest, within 1e-5 (beyond 100, logits have fewer places themselves: 2
// ulps of theirs); of probabilities (Activation::softmax), their largest; NaN where a NaN or +infinity decides.
struct Labels {
    std::uint8_t* labels = nullptr;
    int height = 0, width = 0;
    float* confidence = nullptr;
};

// A picture of the labels over a frame of their size, made row by row behind them; see overlay.hpp.
struct Overlay {
    Frame frame;
    const std::uint8_t* palette = nullptr;  // (256, 3), in the frame's order of channels
    float alpha = 0.5f;
    std::uint8_t* picture = nullptr;  // (height, width, 3), packed
};

class Labeller {
   public:
    template <class T>
    void operator()(const Logits<T>& logits, const Resampling& resampling, const Labels& to,
                    const Overlay* over = nullptr) {
        prepare(logits.classes, logits.height, logits.width, resampling, to);
        if (over != nullptr) {
            blend.prepare(over->palette, over->alpha, to.width);
        }
        const bool probable = logits.activation == Activation::softmax;
        scale = probable ? 0.0f : logits.scale;
        // Classes this far below the best add less than 7e-6 to the sum of the softmax, all together.
        slack = probable ? 0.0f : (12.0f + std::log(static_cast<float>(logits.classes))) / logits.scale;
        run_best([&]() __attribute__((always_inline)) {
            for (int i = 0; i < logits.height; ++i) {
                const int y0 = down.first[at(i)], y1 = down.first[at(i) + 1];
                if (y0 == y1) {
                    continue;
                }
                // Above before below: a row takes the place of the one two before it.
                const Rows::Row& above = rows.get(logits, i);
                const Rows::Row& below = rows.get(logits, std::min(i + down.step, logits.height - 1));
                strip(above, below, logits.classes, logits.width, y0, y1, to);
                for (int y = y0; over != nullptr && y < y1; ++y) {
                    const std::ptrdiff_t pixel = static_cast<std::ptrdiff_t>(y) * to.width;
                    blend.row(to.labels + pixel, over->frame, y, over->picture + 3 * pixel);
                }
            }
        });
    }

   private:
    static constexpr int overshoot = 32;  // bytes that filling a run may write too far
    Axis down, across;
    Rows rows;
    Blend blend;
    Contest room;
    float scale = 1, slack = 0;
    std::vector<float> high;            // (classes, lanes)
    std::vector<std::uint32_t> masks;   // (classes / 32, pitch): who can win
    std::vector<std::uint32_t> near;    // the same: who counts in the softmax
    std::vector<std::int32_t> open;     // columns of the cells in which several classes can win
    std::vector<std::uint8_t> pattern;  // (width): a row of labels of the cells that belong to one class

    static std::size_t at(int i) { return static_cast<std::size_t>(i); }

    void prepare(int classes, int h, int w, const Resampling& how, const Labels& to) {
        const bool whole = how.height == 0.0f && how.width == 0.0f;
        const auto full_h = static_cast<float>(h), full_w = static_cast<float>(w);
        down.make({h, to.height, how.coordinates, how.interpolation, how.top, whole ? full_h : how.height});
        across.make({w, to.width, how.coordinates, how.interpolation, how.left, whole ? full_w : how.width});
        rows.prepare(classes, w);
        room.prepare(classes);
        high.resize(at(classes * lanes));
        masks.resize(at((classes + 31) / 32 * rows.pitch));
        near.resize(to.confidence != nullptr ? masks.size() : 0);
        open.resize(at(w));
        pattern.resize(at(to.width + overshoot));
    }

    // The output rows [y0, y1), which lie between two rows of logits.
    EDGESEG_INLINE void strip(const Rows::Row& above, const Rows::Row& below, int classes, int width, int y0, int y1,
                              const Labels& to) {
        const int step = across.step, pitch = rows.pitch;
        const bool any_odd = above.any_odd || below.any_odd, sure = to.confidence != nullptr;
        const auto corners = [&](int j) __attribute__((always_inline)) {
            return Corners{above.values.data() + j, below.values.data() + j, classes, pitch, step};
        };
        const auto patch = [&](int j) __attribute__((always_inline)) {
            return Patch{y0, y1, across.first[at(j)], across.first[at(j) + 1], to.width, to.labels, to.confidence};
        };
        for (int j = 0; j < width; j += lanes) {
            survivors(corners(j), high.data(), masks.data() + j, slack, sure ? near.data() + j : nullptr);
        }
        const int found = fill_closed(classes, width, any_odd ? &above : nullptr, &below);
        for (int y = y0; y < y1; ++y) {
            const std::ptrdiff_t pixel = static_cast<std::ptrdiff_t>(y) * to.width;
            std::memcpy(to.labels + pixel, pattern.data(), at(to.width));
            if (sure) {
                std::fill_n(to.confidence + pixel, to.width, 1.0f);
            }
        }
        for (int i = 0; i < found; ++i) {
            const int j = open[at(i)];
            if (any_odd && is_odd(above, below, j)) {
                contest_odd(corners(j), patch(j));
            } else {
                contest(corners(j), list(masks, j, classes), room, across, down, patch(j));
            }
        }
        const bool even = sure && evenly_spaced(down, y0, y1);
        for (int j = 0; sure && j < width; ++j) {
            const int n = list(near, j, classes);
            if ((n > 1 || scale == 0.0f) && !(any_odd && is_odd(above, below, j))) {
                confidence_of(corners(j), n, room, across, down, scale, even, patch(j));
            }
        }
    }

    bool is_odd(const Rows::Row& above, const Rows::Row& below, int j) const {
        const auto odd = [&](const Rows::Row& row) {
            return row.any_odd && (row.odd[at(j)] | row.odd[at(j + across.step)]) != 0;
        };
        return odd(above) || odd(below);
    }

    // Writes the labels of cells with one survivor to the pattern, notes the others in `open` and counts them.
    // `above` is nullptr where all logits of both rows are finite.
    EDGESEG_INLINE int fill_closed(int classes, int width, const Rows::Row* above, const Rows::Row* below) {
        int found = 0;
        for (int j = 0; j < width; ++j) {
            const int x0 = across.first[at(j)], n = across.first[at(j) + 1] - x0;
            if (n == 0) {
                continue;
            }
            std::uint32_t mask = masks[at(j)];
            bool several = (mask & (mask - 1)) != 0;
            int base = 0;
            for (int k = 32; k < classes; k += 32) {
                const std::uint32_t next = masks[at(k / 32 * rows.pitch + j)];
                several |= (next & (next - 1)) != 0 || (mask != 0 && next != 0);
                base = next != 0 ? k : base;
                mask |= next;
            }
            if (several || (above != nullptr && is_odd(*above, *below, j))) {
                open[at(found++)] = j;
                continue;
            }
            const auto label = static_cast<std::uint8_t>(base + __builtin_ctz(mask));
            std::uint8_t* const run = pattern.data() + x0;
            if (n <= overshoot) {
                std::memset(run, label, overshoot);  // what is too much, the next cell overwrites
            } else {
                std::memset(run, label, at(n));
            }
        }
        return found;
    }

    // Writes the classes that are marked in cell j to the room, in rising order, and counts them.
    EDGESEG_INLINE int list(const std::vector<std::uint32_t>& marks, int j, int classes) {
        int n = 0;
        for (int k = 0; k < classes; k += 32) {
            for (std::uint32_t mask = marks[at(k / 32 * rows.pitch + j)]; mask != 0; mask &= mask - 1) {
                room.classes[at(n++)] = k + __builtin_ctz(mask);
            }
        }
        return n;
    }

    // A cell with a NaN or an infinity at a corner: every class at every pixel, NaN the largest of all.
    __attribute__((noinline)) void contest_odd(const Corners& corners, const Patch& to) const {
        for (int y = to.y0; y < to.y1; ++y) {
            for (int x = to.x0; x < to.x1; ++x) {
                const std::ptrdiff_t pixel = static_cast<std::ptrdiff_t>(y) * to.width + x;
                int label = 0;
                float best = value(corners, 0, y, x);
                for (int k = 1; k < corners.classes && best == best; ++k) {
                    const float v = value(corners, k, y, x);
                    if (!(v <= best)) {
                        best = v, label = k;
                    }
                }
                to.labels[pixel] = static_cast<std::uint8_t>(label);
                if (to.confidence != nullptr) {
                    to.confidence[pixel] = confidence(corners, y, x, best);
                }
            }
        }
    }

    float confidence(const Corners& corners, int y, int x, float best) const {
        float sum = 0;
        for (int k = 0; scale != 0.0f && k < corners.classes; ++k) {
            sum += std::exp((value(corners, k, y, x) - best) * scale);  // NaN where best is NaN or infinite
        }
        return scale != 0.0f ? 1.0f / sum : best;
    }

    float value(const Corners& corners, int k, int y, int x) const {
        const float* const above = corners.above + k * corners.pitch;
        const float* const below = corners.below + k * corners.pitch;
        if (!down.blend) {
            return above[0];
        }
        const float right = across.weight[at(x)], lower = down.weight[at(y)];
        const float top = (1.0f - right) * above[0] + right * above[corners.step];
        const float bottom = (1.0f - right) * below[0] + right * below[corners.step];
        return (1.0f - lower) * top + lower * bottom;
    }
};

}  // namespace edgeseg
