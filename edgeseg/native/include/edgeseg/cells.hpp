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

// Marks the classes whose largest corner reaches the bound, for eight cells at once: bit k % 32 of
// masks[k / 32 * pitch + i] for class k in cell i. `high` holds 8 floats per class.
EDGESEG_INLINE void mark(int classes, int pitch, const float* high, const Floats& bound, std::uint32_t* masks) {
    for (int begin = 0; begin < classes; begin += 32, masks += pitch) {
        Words mask{};
        const int end = begin + 32 < classes ? begin + 32 : classes;
        for (int k = begin; k < end; ++k) {
            Floats largest;
            load(largest, high + k * lanes);
            Words alive;
            same_bits(alive, largest >= bound);
            mask |= alive & (1u << (k - begin));
        }
        store(masks, mask);
    }
}

// A class can win inside a cell only if its largest corner reaches the largest of all smallest corners: such are marked
// in `masks`, and in `near`, unless it is nullptr, those that come within `slack` of it. `high` is room for mark().
EDGESEG_INLINE void survivors(const Corners& at, float* high, std::uint32_t* masks, float slack, std::uint32_t* near) {
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
    mark(at.classes, at.pitch, high, best, masks);
    if (near != nullptr) {
        mark(at.classes, at.pitch, high, best - slack, near);
    }
}

// Room for one cell's survivors: their numbers, and their values on the cell's upper and lower edge.
struct Contest {
    std::vector<std::int32_t> classes;
    std::vector<float> top, bottom;    // (survivors, lanes)
    std::vector<float> powers, rates;  // the same, for confidence.hpp

    void prepare(int most) {
        classes.resize(static_cast<std::size_t>(most));
        for (std::vector<float>* const room : {&top, &bottom, &powers, &rates}) {
            room->resize(static_cast<std::size_t>(most * lanes));
        }
    }
};

// The values of n classes on the cell's upper and lower edge, in eight columns, torch's w0 * a + w1 * b.
EDGESEG_INLINE void edges(const Corners& at, int n, Contest& room, const Floats& right) {
    const Floats left = 1.0f - right;
    for (int s = 0; s < n; ++s) {
        const std::ptrdiff_t k = room.classes[static_cast<std::size_t>(s)];
        const float* const above = at.above + k * at.pitch;
        const float* const below = at.below + k * at.pitch;
        store(room.top.data() + s * lanes, left * above[0] + right * above[at.step]);
        store(room.bottom.data() + s * lanes, left * below[0] + right * below[at.step]);
    }
}

// Labels of the pixels of one cell, between the n classes of room.classes, in rising order. All corners are finite.
EDGESEG_INLINE void contest(const Corners& at, int n, Contest& room, const Axis& across, const Axis& down,
                            const Patch& to) {
    constexpr int rows = 4;  // at a time: enough to hide the latency of comparing
    const float* const tops = room.top.data();
    const float* const bottoms = room.bottom.data();
    const std::int32_t* const numbers = room.classes.data();
    for (int x = to.x0; x < to.x1; x += lanes) {
        const int pixels = to.x1 - x < lanes ? to.x1 - x : lanes;
        Floats right, top, bottom;
        load(right, across.weight.data() + x);
        edges(at, n, room, right);
        for (int y = to.y0; y < to.y1; y += rows) {
            Floats best[rows];
            Ints label[rows];
            const float* const lower = down.weight.data() + y;
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
                put(to.labels + static_cast<std::ptrdiff_t>(y + r) * to.width + x, bytes + r * lanes, pixels);
            }
        }
    }
}

}  // namespace edgeseg
