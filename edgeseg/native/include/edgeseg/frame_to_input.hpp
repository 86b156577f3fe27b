// From a camera's frame to the uint8 (1, h, w, 3) that a network takes: packed, resized or letterboxed in one pass.
//
//     edgeseg::Packer packer;  // keep it: buffers and tap tables are made at the first call of a size
//     packer({pixels, 1080, 1920, 1920 * 3}, {512, 1024}, input);
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "overlay.hpp"
#include "simd.hpp"
#include "taps.hpp"

namespace edgeseg {

enum class Fit { stretch, letterbox };

// What the network wants: its size; whether its channels come in the other order than the frame's; how a frame of
// another shape is fitted, and the grey value around it then.
struct Input {
    int height = 0, width = 0;
    bool swap_channels = false;
    Fit fit = Fit::stretch;
    std::uint8_t border = 114;
};

// Where the frame lies in the input.
struct Placement {
    int top, left, height, width;
};

// The largest size of the frame's shape that fits, rounded half up, in the middle; half a pixel too much goes below and
// to the right.
inline Placement place(int height, int width, const Input& input) {
    if (input.fit == Fit::stretch) {
        return {0, 0, input.height, input.width};
    }
    const double scale = std::min(static_cast<double>(input.height) / height, static_cast<double>(input.width) / width);
    const auto fitted = [&](int size, int most) {
        return std::min(std::max(static_cast<int>(std::floor(size * scale + 0.5)), 1), most);
    };
    const int h = fitted(height, input.height), w = fitted(width, input.width);
    return {(input.height - h) / 2, (input.width - w) / 2, h, w};
}

// Resizing is Pillow's BILINEAR within 1, and edgeseg.native.twin's to the bit: float32, down first and then across,
// taps added in order, half rounded up.
class Packer {
   public:
    // out: uint8 (input.height, input.width, 3), packed, not overlapping the frame.
    void operator()(const Frame& frame, const Input& input, std::uint8_t* out) {
        const Placement at = place(frame.height, frame.width, input);
        const std::ptrdiff_t pitch = static_cast<std::ptrdiff_t>(input.width) * 3;
        if (at.height != input.height || at.width != input.width) {
            frame_border(at, input, out);
        }
        std::uint8_t* const inside = out + at.top * pitch + at.left * 3;
        if (at.height == frame.height && at.width == frame.width) {
            pack(frame, inside, pitch, input.swap_channels);
        } else {
            resize(frame, at, inside, pitch, input.swap_channels);
        }
    }

   private:
    static constexpr int ahead = 8;  // floats or bytes that a vector may read or write behind the last pixel
    Triangle down, across;
    std::vector<std::uint8_t> ring;  // packed rows of a frame that is not
    std::vector<int> held;           // which row each place of the ring holds
    std::vector<const std::uint8_t*> from;
    std::vector<float> tall, wide;  // one row, resized down; and then across

    static void frame_border(const Placement& at, const Input& input, std::uint8_t* out) {
        const std::ptrdiff_t pitch = static_cast<std::ptrdiff_t>(input.width) * 3;
        const int left = at.left * 3, right = (input.width - at.left - at.width) * 3;
        for (int y = 0; y < input.height; ++y, out += pitch) {
            if (y < at.top || y >= at.top + at.height) {
                std::memset(out, input.border, static_cast<std::size_t>(pitch));
            } else {
                std::memset(out, input.border, static_cast<std::size_t>(left));
                std::memset(out + pitch - right, input.border, static_cast<std::size_t>(right));
            }
        }
    }

    static void pack(Frame frame, std::uint8_t* out, std::ptrdiff_t pitch, bool swap_channels) {
        if (swap_channels) {
            frame.data += 2 * frame.channel;
            frame.channel = -frame.channel;
        }
        for (int y = 0; y < frame.height; ++y, out += pitch) {
            const std::uint8_t* const row = packed_row(frame, y, out);
            if (row != out) {
                std::memcpy(out, row, static_cast<std::size_t>(frame.width) * 3);
            }
        }
    }

    void resize(Frame frame, const Placement& at, std::uint8_t* out, std::ptrdiff_t pitch, bool swap_channels) {
        if (frame.channel == -1) {  // the other order, seen from the other end
            frame.data -= 2;
            frame.channel = 1;
            swap_channels = !swap_channels;
        }
        prepare(frame, at);
        run_best([&]() __attribute__((always_inline)) {
            for (int y = 0; y < at.height; ++y, out += pitch) {
                resize_down(frame, y);
                resize_across(at.width, swap_channels);
                round(wide.data(), at.width * 3, out);
            }
        });
    }

    void prepare(const Frame& frame, const Placement& at) {
        down.make(frame.height, at.height);
        across.make(frame.width, at.width);
        const auto taps = static_cast<std::size_t>(down.taps), width = static_cast<std::size_t>(frame.width);
        from.resize(taps);
        held.assign(taps, -1);
        if (!frame.packed()) {
            ring.resize(taps * width * 3);
        }
        // Taps of weight 0 may lie behind the row's end: there must be numbers, whatever they are.
        tall.assign((width + static_cast<std::size_t>(across.taps)) * 3 + ahead, 0.0f);
        wide.resize(static_cast<std::size_t>(at.width) * 3 + ahead);
    }

    const std::uint8_t* source(const Frame& frame, int y) {
        if (frame.packed()) {
            return frame.at(y, 0);
        }
        const int place = y % down.taps;
        std::uint8_t* const row = ring.data() + static_cast<std::ptrdiff_t>(place) * frame.width * 3;
        if (held[static_cast<std::size_t>(place)] != y) {
            held[static_cast<std::size_t>(place)] = y;
            packed_row(frame, y, row);
        }
        return row;
    }

    EDGESEG_INLINE void resize_down(const Frame& frame, int y) {
        const int first = down.first[static_cast<std::size_t>(y)];
        const float* const weight = down.weight.data() + static_cast<std::ptrdiff_t>(y) * down.taps;
        int taps = down.taps;
        while (weight[taps - 1] == 0.0f) {
            --taps;
        }
        for (int t = 0; t < taps; ++t) {
            from[static_cast<std::size_t>(t)] = source(frame, first + t);
        }
        const int n = frame.width * 3;
        const std::uint8_t* const* rows = from.data();
        add_rows<true>(rows, weight, std::min(taps, 4), n);
        for (int t = 4; t < taps; t += 4) {
            add_rows<false>(rows + t, weight + t, std::min(taps - t, 4), n);
        }
    }

    // tall (+)= the sum of `count` rows, 1 to 4 of them, each times its weight, in order.
    template <bool begin>
    EDGESEG_INLINE void add_rows(const std::uint8_t* const* rows, const float* weight, int count, int n) {
        switch (count) {  // known numbers of rows: the compiler makes one pass of vectors over all of them
            case 1: return add_known_rows<1, begin>(rows, weight, n);
            case 2: return add_known_rows<2, begin>(rows, weight, n);
            case 3: return add_known_rows<3, begin>(rows, weight, n);
            default: return add_known_rows<4, begin>(rows, weight, n);
        }
    }

    template <int count, bool begin>
    EDGESEG_INLINE void add_known_rows(const std::uint8_t* const* rows, const float* weight, int n) {
        float* __restrict const to = tall.data();
        const std::uint8_t* const row[4] = {rows[0], rows[count > 1 ? 1 : 0], rows[count > 2 ? 2 : 0],
                                            rows[count > 3 ? 3 : 0]};
        const float w0 = weight[0], w1 = count > 1 ? weight[1] : 0, w2 = count > 2 ? weight[2] : 0,
                    w3 = count > 3 ? weight[3] : 0;
        for (int i = 0; i < n; ++i) {
            float sum = static_cast<float>(row[0][i]) * w0;
            sum = begin ? sum : to[i] + sum;
            sum = count > 1 ? sum + static_cast<float>(row[1][i]) * w1 : sum;
            sum = count > 2 ? sum + static_cast<float>(row[2][i]) * w2 : sum;
            sum = count > 3 ? sum + static_cast<float>(row[3][i]) * w3 : sum;
            to[i] = sum;
        }
    }

    EDGESEG_INLINE void resize_across(int width, bool swap) {
        switch (across.taps) {  // a loop of known length is unrolled
            case 2: return resize_across_by<2>(width, swap);
            case 3: return resize_across_by<3>(width, swap);
            case 4: return resize_across_by<4>(width, swap);
            case 5: return resize_across_by<5>(width, swap);
            default: return resize_across_by<0>(width, swap);
        }
    }

    template <int known>
    EDGESEG_INLINE void resize_across_by(int width, bool swap) {
        const int taps = known != 0 ? known : across.taps;
        const float* weight = across.weight.data();
        for (int x = 0; x < width; ++x, weight += taps) {
            const float* const pixels = tall.data() + 3 * across.first[static_cast<std::size_t>(x)];
            Quad sum{};  // the fourth lane is the next pixel's, and overwritten by it
            for (int t = 0; t < taps; ++t) {
                Quad pixel;
                load(pixel, pixels + 3 * t);
                sum += pixel * weight[t];
            }
            if (swap) {
                reverse(sum);
            }
            store(wide.data() + 3 * x, sum);
        }
    }

    static EDGESEG_INLINE void round(const float* from, int n, std::uint8_t* to) {
        for (int i = 0; i < n; ++i) {
            to[i] = static_cast<std::uint8_t>(static_cast<std::int32_t>(from[i] + 0.5f));
        }
    }
};

}  // namespace edgeseg
