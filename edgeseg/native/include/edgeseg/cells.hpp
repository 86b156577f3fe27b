// The cells between four neighbouring logits: which classes can win inside one, and who does where.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "logits.hpp"
#include "simd.hpp"
#include "taps.hpp"

namespace edgeseg {

// The four corners' columns: above and below, (classes, pitch) each, at the cell's left; its right is `step` further.
struct Corners {
    const float* above;
    const float* below;
    int classes, pitch, step;
};

// Where the answers of one cell go: to rows [y0, y1) and columns [x0, x1) of maps of `width` columns.
struct Patch {
    int y0, y1, x0, x1, width;
    std::uint8_t* labels;
    float* confidence;  // or nullptr
};

// A class can win inside a cell only if its largest corner reaches the largest of all smallest corners, `slack` less.
//
// Answers for eight cells at once: bit k % 32 of masks[k / 32 * pitch + i] is set where class k can win in cell i.
// `high` is room for 8 floats per class.
EDGESEG_INLINE void survivors(const Corners& at, float slack, float* high, std::uint32_t* masks) {
    Floats best = Floats{} - std::numeric_limits<float>::infinity();
    for (int k = 0; k < at.classes; ++k) {
        const float* const above = at.above + k * at.pitch;
        const float* const below = at.below + k * at.pitch;
        Floats a, b, c, d;
        load(a, above), load(b, above + at.step), load(c, below), load(d, below + at.step);
        const Floats low_left = a < c ? a : c, low_right = b < d ? b : d;
        const Floats low = low_left < low_right ? low_left : low_right;
        const Floats high_left = a > c ? a : c, high_right = b > d ? b : d;
        store(high + k * lanes, high_left > high_right ? high_left : high_right);
        best = low > best ? low : best;
    }
    best -= slack;
    for (int begin = 0; begin < at.classes; begin += 32, masks += at.pitch) {
        Words mask{};
        const int end = begin + 32 < at.classes ? begin + 32 : at.classes;
        for (int k = begin; k < end; ++k) {
            Floats largest;
            load(largest, high + k * lanes);
            Words alive;
            same_bits(alive, largest >= best);
            mask |= alive & (1u << (k - begin));
        }
        store(masks, mask);
    }
}

// Room for one cell's survivors: their numbers, and their values on the cell's upper and lower edge.
struct Contest {
    std::vector<std::int32_t> classes;
    std::vector<float> top, bottom;  // (survivors, lanes)

    void prepare(int most) {
        classes.resize(static_cast<std::size_t>(most));
        top.resize(static_cast<std::size_t>(most * lanes));
        bottom.resize(static_cast<std::size_t>(most * lanes));
    }
};

// Labels, and confidence if asked, of the pixels of one cell, between n classes that survived. All corners are finite.
//
// The order of operations is torch's: across, then down, each w0 * a + w1 * b. `scale` is that of the logits; 0 says
// that they are probabilities, whose largest is the confidence.
template <bool with_confidence>
EDGESEG_INLINE void contest(const Corners& at, int n, Contest& room, const Axis& across, const Axis& down, float scale,
                            const Patch& to) {
    constexpr int rows = 4;  // at a time: enough to hide the latency of comparing
    float* const tops = room.top.data();
    float* const bottoms = room.bottom.data();
    const std::int32_t* const numbers = room.classes.data();
    for (int x = to.x0; x < to.x1; x += lanes) {
        const int pixels = to.x1 - x < lanes ? to.x1 - x : lanes;
        Floats right;
        load(right, across.weight.data() + x);
        const Floats left = 1.0f - right;
        for (int s = 0; s < n; ++s) {
            const float* const above = at.above + numbers[s] * at.pitch;
            const float* const below = at.below + numbers[s] * at.pitch;
            store(tops + s * lanes, left * above[0] + right * above[at.step]);
            store(bottoms + s * lanes, left * below[0] + right * below[at.step]);
        }
        for (int y = to.y0; y < to.y1; y += rows) {
            Floats best[rows];
            Ints label[rows];
            const float* const lower = down.weight.data() + y;
            Floats top, bottom;
            load(top, tops), load(bottom, bottoms);
            for (int r = 0; r < rows; ++r) {
                best[r] = (1.0f - lower[r]) * top + lower[r] * bottom;
                label[r] = Ints{} + numbers[0];
            }
            for (int s = 1; s < n; ++s) {
                load(top, tops + s * lanes), load(bottom, bottoms + s * lanes);
                for (int r = 0; r < rows; ++r) {
                    const Floats value = (1.0f - lower[r]) * top + lower[r] * bottom;
                    const Ints above = value > best[r];
                    label[r] = above ? Ints{} + numbers[s] : label[r];
                    best[r] = above ? value : best[r];
                }
            }
            std::uint8_t bytes[rows * lanes];  // by a loop: gcc converts such vectors lane by lane
            std::int32_t words[rows * lanes];
            store(words, label);
            for (int i = 0; i < rows * lanes; ++i) {
                bytes[i] = static_cast<std::uint8_t>(words[i]);
            }
            for (int r = 0; r < rows && y + r < to.y1; ++r) {
                const std::ptrdiff_t pixel = static_cast<std::ptrdiff_t>(y + r) * to.width + x;
                put(to.labels + pixel, bytes + r * lanes, pixels);
                if (with_confidence) {
                    Floats share = best[r];
                    if (scale != 0.0f) {
                        Floats sum{};
                        for (int s = 0; s < n; ++s) {
                            load(top, tops + s * lanes), load(bottom, bottoms + s * lanes);
                            Floats less = (((1.0f - lower[r]) * top + lower[r] * bottom) - best[r]) * (scale * binary);
                            exponential(less);
                            sum += less;
                        }
                        share = 1.0f / sum;
                    }
                    float shares[lanes];
                    store(shares, share);
                    put(to.confidence + pixel, shares, pixels);
                }
            }
        }
    }
}

}  // namespace edgeseg
