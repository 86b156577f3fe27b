// Rows of logits of any type and layout as float32, class by class: what upsample_argmax.hpp reads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "half.hpp"
#include "simd.hpp"

namespace edgeseg {

enum class Activation { none, softmax };

constexpr float binary = 1.44269504f;  // e^x is 2^(binary * x)

// The logits of one frame, packed. T: float, Half, std::int8_t or std::uint8_t. A logit is `scale` > 0 times the
// number.
template <class T>
struct Logits {
    const T* data = nullptr;
    int classes = 0, height = 0, width = 0;  // 1 to 255 classes: labels are uint8
    bool channels_last = false;              // (height, width, classes); otherwise (classes, height, width)
    float scale = 1.0f;
    Activation activation = Activation::none;  // applied over the classes of each of these pixels
};

// Two neighbouring rows of a map, float32, the later overwriting the earlier.
class Rows {
   public:
    // Floats from one class to the next. A row's last pixel is repeated up to there: reading on to the right is free.
    int pitch = 0;

    void prepare(int classes, int width) {
        pitch = (width + lanes - 1) / lanes * lanes + lanes;
        for (Row& row : rows) {
            row.y = -1;
            row.values.resize(static_cast<std::size_t>(classes) * static_cast<std::size_t>(pitch));
            row.odd.resize(static_cast<std::size_t>(pitch));
        }
        sums.resize(static_cast<std::size_t>(pitch));
    }

    struct Row {
        int y = -1;
        bool any_odd = false;           // whether it holds a NaN or an infinity
        std::vector<std::uint8_t> odd;  // (pitch), where it does: whether a pixel does
        std::vector<float> values;      // (classes, pitch)
    };

    // Row y, read where it is not there already. The row before it stays.
    template <class T>
    EDGESEG_INLINE const Row& get(const Logits<T>& logits, int y) {
        Row& row = rows[y & 1];
        if (row.y == y) {
            return row;
        }
        row.y = y;
        copy(logits, y, row.values.data());
        if (logits.activation == Activation::softmax) {
            softmax(row.values.data(), logits.classes, logits.scale);
        }
        row.any_odd = sizeof(T) > 1 && find_odd(row, logits.classes);
        return row;
    }

   private:
    Row rows[2];
    std::vector<float> sums;

    template <class T>
    EDGESEG_INLINE void copy(const Logits<T>& logits, int y, float* values) {
        const auto classes = static_cast<std::ptrdiff_t>(logits.classes);
        const std::ptrdiff_t height = logits.height, width = logits.width;
        for (std::ptrdiff_t k = 0; k < classes; ++k) {
            float* const to = values + k * pitch;
            if (logits.channels_last) {
                const T* const from = logits.data + y * width * classes + k;
                for (std::ptrdiff_t x = 0; x < width; ++x) {
                    to[x] = to_float(from[x * classes]);
                }
            } else {
                const T* const from = logits.data + (k * height + y) * width;
                for (std::ptrdiff_t x = 0; x < width; ++x) {
                    to[x] = to_float(from[x]);
                }
            }
            std::fill(to + width, to + pitch, to[width - 1]);
        }
    }

    // Over classes, in place: e^(scale * (v - largest)) over their sum. NaN or +infinity makes a pixel NaN throughout.
    EDGESEG_INLINE void softmax(float* values, int classes, float scale) {
        for (int x = 0; x < pitch; x += lanes) {
            Floats top, v, sum{};
            load(top, values + x);
            for (int k = 1; k < classes; ++k) {
                load(v, values + k * pitch + x);
                top = v > top ? v : top;
            }
            for (int k = 0; k < classes; ++k) {
                load(v, values + k * pitch + x);
                v = (v - top) * (scale * binary);
                const Floats raw = v;
                exponential(v);
                v = raw == raw ? v : raw;
                store(values + k * pitch + x, v);
                sum += v;
            }
            for (int k = 0; k < classes; ++k) {
                load(v, values + k * pitch + x);
                v /= sum;
                store(values + k * pitch + x, v);
            }
        }
    }

    // Notes which pixels hold a NaN or an infinity in any class; whether there are any.
    EDGESEG_INLINE bool find_odd(Row& row, int classes) {
        Ints largest{}, bits;
        for (int i = 0; i < classes * pitch; i += lanes) {
            load(bits, row.values.data() + i);
            bits &= 0x7fffffff;
            largest = bits > largest ? bits : largest;
        }
        std::int32_t most = 0;
        for (int i = 0; i < lanes; ++i) {
            most = std::max(most, static_cast<std::int32_t>(largest[i]));
        }
        if (most < 0x7f800000) {
            return false;
        }
        std::fill(row.odd.begin(), row.odd.end(), std::uint8_t{0});
        for (int k = 0; k < classes; ++k) {
            const float* const values = row.values.data() + k * pitch;
            for (int x = 0; x < pitch; ++x) {
                const bool finite = values[x] - values[x] == 0.0f;
                row.odd[static_cast<std::size_t>(x)] |= static_cast<std::uint8_t>(!finite);
            }
        }
        return true;
    }
};

}  // namespace edgeseg
