// A frame with the colours of its labels laid over it, row by row.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "simd.hpp"

namespace edgeseg {

// A picture in memory: uint8 (height, width, 3) with any distances between its pixels, in bytes, negative ones too.
struct Frame {
    const std::uint8_t* data = nullptr;
    int height = 0, width = 0;
    std::ptrdiff_t row = 0, column = 3, channel = 1;

    const std::uint8_t* at(int y, int x) const { return data + y * row + x * column; }
    bool packed() const { return column == 3 && channel == 1; }  // the bytes of a row stand side by side
};

// Copies row y of the frame to `to`, width * 3 bytes, and says where it is: in the frame itself where it is packed.
inline const std::uint8_t* packed_row(const Frame& frame, int y, std::uint8_t* to) {
    if (frame.packed()) {
        return frame.at(y, 0);
    }
    const std::uint8_t* from = frame.at(y, 0);
    for (int x = 0; x < frame.width; ++x, from += frame.column) {
        to[3 * x] = from[0];
        to[3 * x + 1] = from[frame.channel];
        to[3 * x + 2] = from[2 * frame.channel];
    }
    return to;
}

// picture = (frame * (256 - a) + colour * a + 128) / 256, rounded down, where a is alpha in 256ths, rounded: a mean
// with its half rounded up, in integers, so that it is the same on every machine.
class Blend {
   public:
    // palette: 256 colours of 3 bytes in the frame's order of channels; alpha from 0 (frame) to 1 (colours).
    void prepare(const std::uint8_t* palette, float alpha, int width) {
        const int a = static_cast<int>(std::floor(alpha * 256.0f + 0.5f));
        keep = static_cast<std::uint16_t>(256 - a);
        tint.resize(256 * 4);
        for (std::size_t label = 0; label < 256; ++label) {
            for (std::size_t c = 0; c < 3; ++c) {
                tint[label * 4 + c] = static_cast<std::uint16_t>(palette[label * 3 + c] * a + 128);
            }
        }
        tints.resize(static_cast<std::size_t>(width) * 3 + 4);
        gathered.resize(static_cast<std::size_t>(width) * 3);
    }

    // One row: labels (width), frame and picture (width, 3), the latter packed.
    EDGESEG_INLINE void row(const std::uint8_t* labels, const Frame& frame, int y, std::uint8_t* picture) {
        std::uint16_t* const to = tints.data();
        for (int x = 0; x < frame.width; ++x) {
            std::memcpy(to + 3 * x, tint.data() + 4 * labels[x], 8);  // the fourth is overwritten by the next pixel
        }
        const std::uint8_t* const from = packed_row(frame, y, gathered.data());
        const int n = frame.width * 3;
        const std::uint16_t share = keep;
        for (int i = 0; i < n; ++i) {
            const auto sum = static_cast<std::uint16_t>(from[i] * share + to[i]);  // at most 255 * 256 + 128
            picture[i] = static_cast<std::uint8_t>(sum >> 8);
        }
    }

   private:
    std::uint16_t keep = 256;
    std::vector<std::uint16_t> tint;   // (256, 4): a label's share, half of 256 added
    std::vector<std::uint16_t> tints;  // (width, 3) of one row
    std::vector<std::uint8_t> gathered;
};

// The frame with labels (height, width), packed, laid over it, into picture (height, width, 3), packed. It may be the
// frame itself.
inline void overlay(const std::uint8_t* labels, const Frame& frame, const std::uint8_t* palette, float alpha,
                    std::uint8_t* picture, Blend& work) {
    work.prepare(palette, alpha, frame.width);
    run_best([&]() __attribute__((always_inline)) {
        for (int y = 0; y < frame.height; ++y) {
            const std::ptrdiff_t pixel = static_cast<std::ptrdiff_t>(y) * frame.width;
            work.row(labels + pixel, frame, y, picture + 3 * pixel);
        }
    });
}

}  // namespace edgeseg
