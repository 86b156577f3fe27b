// Which input pixels each output pixel is made of, and their weights, along one axis.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "simd.hpp"

namespace edgeseg {

// Where the centres of pixels lie, in ONNX's words (https://onnx.ai/onnx/operators/onnx__Resize.html).
enum class Coordinates { half_pixel, align_corners, asymmetric };
enum class Interpolation { bilinear, nearest };

// What decides an Axis. The output covers the inputs from `begin` on for `length`, in input pixels: 0 and `in` for all.
struct AxisOptions {
    int in = 0, out = 0;
    Coordinates coordinates = Coordinates::half_pixel;
    Interpolation interpolation = Interpolation::bilinear;
    float begin = 0, length = 0;

    bool operator==(const AxisOptions& o) const {
        return in == o.in && out == o.out && coordinates == o.coordinates && interpolation == o.interpolation &&
               begin == o.begin && length == o.length;
    }
};

// Two taps per output pixel: lower[i] with weight 1 - weight[i], min(lower[i] + step, in - 1) with weight[i].
//
// The outputs whose lower tap is j are first[j] to first[j + 1]: lower never falls, so they are neighbours.
struct Axis {
    AxisOptions options;
    int step = 1;  // 0 where an output is made of one input: nearest, and equal sizes, where torch too takes one twice
    bool blend = true;  // false for nearest: the input itself, not multiplied by 1
    std::vector<std::int32_t> lower;
    std::vector<float> weight;  // with `lanes` more, zero, so that it can be read a vector at a time
    std::vector<std::int32_t> first;

    // Float32 arithmetic and its order are torch's (aten/src/ATen/native/UpSample.h, area_pixel_compute_source_index),
    // so that the weights are the same bits. Nothing is done where the options are those of the last call.
    void make(const AxisOptions& asked) {
        if (asked == options) {
            return;
        }
        options = asked;
        blend = asked.interpolation == Interpolation::bilinear;
        const bool whole = asked.begin == 0.0f && asked.length == static_cast<float>(asked.in);
        step = blend && !(whole && asked.in == asked.out) ? 1 : 0;
        lower.resize(static_cast<std::size_t>(asked.out));
        weight.assign(static_cast<std::size_t>(asked.out + lanes), 0.0f);
        first.assign(static_cast<std::size_t>(asked.in + 1), 0);
        for (int i = 0; i < asked.out; ++i) {
            const float at = position(i);
            const auto floor = static_cast<std::int32_t>(std::min(at, static_cast<float>(asked.in - 1)));
            const auto n = static_cast<std::size_t>(i);
            lower[n] = floor;
            weight[n] = step == 0 ? 0.0f : std::min(at - static_cast<float>(floor), 1.0f);
            ++first[static_cast<std::size_t>(floor) + 1];
        }
        for (std::size_t j = 1; j < first.size(); ++j) {
            first[j] += first[j - 1];
        }
    }

   private:
    // Of output i, in input pixels, at least 0. Where nearest rounds, its half goes up, as in torch's "nearest-exact".
    float position(int i) const {
        const auto at = static_cast<float>(i);
        const float inside = options.coordinates == Coordinates::align_corners ? 1.0f : 0.0f;
        const float steps = static_cast<float>(options.out) - inside;
        const float scale = steps > 0.0f ? std::max(options.length - inside, 0.0f) / steps : 0.0f;
        float source = scale * at;
        if (options.coordinates == Coordinates::half_pixel) {
            // In double, where it is exact, and rounded once: torch's builds contract it to a fused multiply-add.
            const double exact = static_cast<double>(scale) * static_cast<double>(at + 0.5f);
            source = static_cast<float>(blend ? exact - 0.5 : exact);
        } else if (options.coordinates == Coordinates::align_corners && !blend) {
            source += 0.5f;
        }
        return std::max(source + options.begin, 0.0f);
    }
};

// Pillow's BILINEAR: weights under a triangle as wide as the larger of one input and one output pixel, so that a
// smaller picture is an average. Computed in double in the order of edgeseg/native/twin.py, to the same bits.
struct Triangle {
    int in = 0, out = 0;
    int taps = 0;                     // per output, the same for all; those too many have weight 0
    std::vector<std::int32_t> first;  // index of the first tap; first + taps may pass `in` where weights are 0
    std::vector<float> weight;        // out * taps

    void make(int in_size, int out_size) {
        if (in == in_size && out == out_size) {
            return;
        }
        in = in_size, out = out_size;
        const double step = static_cast<double>(in) / out;
        const double radius = std::max(step, 1.0);
        const int most = static_cast<int>(std::ceil(radius)) * 2 + 1;
        first.resize(static_cast<std::size_t>(out));
        weight.assign(static_cast<std::size_t>(out) * static_cast<std::size_t>(most), 0.0f);
        raw.resize(static_cast<std::size_t>(most));
        taps = 1;
        for (int i = 0; i < out; ++i) {
            taps = std::max(taps, fill(i, most, step, radius));
        }
        for (int i = 0; i < out; ++i) {  // close the gaps: rows of `most` weights become rows of `taps`
            std::copy_n(weight.begin() + static_cast<std::ptrdiff_t>(i) * most, taps,
                        weight.begin() + static_cast<std::ptrdiff_t>(i) * taps);
        }
    }

   private:
    std::vector<double> raw;

    // Writes the weights of output i, and returns how many there are up to the last that is not 0.
    int fill(int i, int most, double step, double radius) {
        const double centre = (i + 0.5) * step;
        int begin = std::max(static_cast<int>(centre - radius + 0.5), 0);
        double sum = 0;
        for (int t = 0; t < most; ++t) {
            const double away = std::abs((begin + t + 0.5 - centre) / radius);
            raw[static_cast<std::size_t>(t)] = begin + t < in ? std::max(0.0, 1 - away) : 0.0;
            sum += raw[static_cast<std::size_t>(t)];
        }
        int skip = 0;
        while (raw[static_cast<std::size_t>(skip)] == 0.0) {
            ++skip;
        }
        int used = 0;
        for (int t = skip; t < most; ++t) {
            const auto w = static_cast<float>(raw[static_cast<std::size_t>(t)] / sum);
            weight[static_cast<std::size_t>(i * most + t - skip)] = w;
            used = w != 0.0f ? t - skip + 1 : used;
        }
        first[static_cast<std::size_t>(i)] = begin + skip;
        return used;
    }
};

}  // namespace edgeseg
