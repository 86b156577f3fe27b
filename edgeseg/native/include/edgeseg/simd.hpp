// Vectors of eight lanes, and one body of code compiled for each instruction set, the best of which runs.
//
// The vectors are those of gcc and clang (https://gcc.gnu.org/onlinedocs/gcc/Vector-Extensions.html): on a machine with
// narrower registers the compiler splits them. Fused multiply-add is never asked for. It rounds once where the other
// machines round twice, and the same logits would get other labels elsewhere. For the same reason compile with
// -ffp-contract=off; without it, results are still within the bounds stated, but not the same bits on every machine.
// Never compile with -ffast-math: NaN and infinity are answered, not undefined.
#pragma once

#include <cstdint>
#include <cstring>

#if !defined(__GNUC__)
#error "edgeseg's headers need gcc or clang: they use vector extensions"
#endif

// A body and all that it calls must be inlined, or it would be compiled for the lowest instruction set alone.
#define EDGESEG_INLINE inline __attribute__((always_inline))

namespace edgeseg {

constexpr int lanes = 8;

using Floats = float __attribute__((vector_size(32)));
using Ints = std::int32_t __attribute__((vector_size(32)));
using Words = std::uint32_t __attribute__((vector_size(32)));
using Quad = float __attribute__((vector_size(16)));

// Vectors travel by reference: how they would be passed by value depends on the instruction set.
template <class Vector, class T>
EDGESEG_INLINE void load(Vector& to, const T* from) {
    std::memcpy(&to, from, sizeof to);
}

template <class T, class Vector>
EDGESEG_INLINE void store(T* to, const Vector& from) {
    std::memcpy(to, &from, sizeof from);
}

// The first n of eight; what is behind them is not touched.
template <class T>
EDGESEG_INLINE void put(T* to, const T* from, int n) {
    if (n == lanes) {
        std::memcpy(to, from, lanes * sizeof(T));
    } else {
        for (int i = 0; i < n; ++i) {
            to[i] = from[i];
        }
    }
}

template <class To, class From>
EDGESEG_INLINE void same_bits(To& to, const From& from) {
    static_assert(sizeof to == sizeof from, "bits are neither lost nor made up");
    std::memcpy(&to, &from, sizeof to);
}

// Its first three lanes in the other order.
EDGESEG_INLINE void reverse(Quad& pixel) {
#if defined(__clang__)
    pixel = __builtin_shufflevector(pixel, pixel, 2, 1, 0, 3);
#else
    using Order = std::int32_t __attribute__((vector_size(16)));
    pixel = __builtin_shuffle(pixel, Order{2, 1, 0, 3});
#endif
}

// 2^x in place, for x <= 0, within 2e-7 of the result for its polynomial and of 1 for the rest; 2^-126 and less are the
// same. x must not be NaN.
EDGESEG_INLINE void exponential(Floats& x) {
    const Floats lowest = Floats{} - 126.0f;
    const Floats magic = Floats{} + 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, in the lowest bits
    x = lowest > x ? lowest : x;
    const Floats shifted = x + magic;
    const Floats f = x - (shifted - magic);  // from -0.5 to 0.5
    Floats y = f * 1.326472731e-3f + 9.671512991e-3f;  // (2^f - 1) / f, fitted for the smallest largest error
    y = y * f + 5.550733581e-2f;
    y = y * f + 2.402224243e-1f;
    y = y * f + 6.931470037e-1f;
    y = y * f + 1.0f;
    Words bits, exponent;
    same_bits(bits, y);
    same_bits(exponent, shifted);
    bits += exponent << 23;  // what is above the integer leaves at the top
    same_bits(x, bits);
}

#if defined(__x86_64__) && !defined(__AVX2__)

template <class Body>
__attribute__((target("avx2"))) void run_with_avx2(const Body& body) {
    body();
}

// Runs body(), an always_inline operator, compiled for the best of the instruction sets that this machine has.
template <class Body>
void run_best(const Body& body) {
    static const bool avx2 = __builtin_cpu_supports("avx2") != 0;
    if (avx2) {
        run_with_avx2(body);
    } else {
        body();
    }
}

#else  // aarch64 has NEON in its baseline; or the caller has asked for AVX2 or more everywhere

template <class Body>
void run_best(const Body& body) {
    body();
}

#endif

}  // namespace edgeseg
