// IEEE 754 half precision to float by integer arithmetic, which every compiler vectorizes on every machine.
#pragma once

#include <cstdint>

#include "simd.hpp"

namespace edgeseg {

// The bits of a half, as numpy's float16 and ONNX's FLOAT16 hold them.
struct Half {
    std::uint16_t bits;
};

// Exact, subnormals, infinities and NaN included. The exponent is moved into place and corrected by a multiplication,
// which also normalises subnormals (F. Giesen, https://fgiesen.wordpress.com/2012/03/28/half-to-float-done-quic/).
EDGESEG_INLINE float to_float(Half half) {
    const std::uint32_t magnitude = (half.bits & 0x7fffu) << 13;
    const std::uint32_t sign = (half.bits & 0x8000u) << 16;
    const std::uint32_t rebias = 0x77800000u;  // 2^112
    float factor, value;
    std::uint32_t bits;
    same_bits(factor, rebias);
    same_bits(value, magnitude);
    value *= factor;
    same_bits(bits, value);
    bits = (magnitude >= 0x0f800000u ? magnitude | 0x7f800000u : bits) | sign;
    same_bits(value, bits);
    return value;
}

EDGESEG_INLINE float to_float(float value) { return value; }
EDGESEG_INLINE float to_float(std::int8_t value) { return static_cast<float>(value); }
EDGESEG_INLINE float to_float(std::uint8_t value) { return static_cast<float>(value); }

}  // namespace edgeseg
