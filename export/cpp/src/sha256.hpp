// SHA-256 (FIPS 180-4, https://doi.org/10.6028/NIST.FIPS.180-4), in which a bundle says what its files were.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace edgeseg {

class Sha256 {
   public:
    // Of the whole text, in hexadecimal.
    static std::string of(const std::string& text) {
        Sha256 sum;
        const auto* const bytes = reinterpret_cast<const std::uint8_t*>(text.data());
        const std::size_t whole = text.size() / block * block, rest = text.size() - whole;
        for (std::size_t i = 0; i < whole; i += block) {
            sum.add(bytes + i);
        }
        // The end: a one, zeros, and the length in bits, filling one block or two.
        std::array<std::uint8_t, 2 * block> end{};
        std::copy_n(bytes + whole, rest, end.begin());
        end[rest] = 0x80;
        const std::size_t length = rest + 9 <= block ? block : 2 * block;
        const std::uint64_t bits = std::uint64_t{text.size()} * 8;
        for (std::size_t i = 0; i < 8; ++i) {
            end[length - 1 - i] = static_cast<std::uint8_t>(bits >> (8 * i));
        }
        for (std::size_t i = 0; i < length; i += block) {
            sum.add(end.data() + i);
        }
        return sum.hexadecimal();
    }

   private:
    static constexpr std::size_t block = 64;
    std::array<std::uint32_t, 8> state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                          0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

    static std::uint32_t rotated(std::uint32_t x, int n) { return x >> n | x << (32 - n); }

    void add(const std::uint8_t* bytes) {
        static constexpr std::array<std::uint32_t, 64> constants = {
            0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
            0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
            0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
            0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
            0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
            0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
            0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
            0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
        std::array<std::uint32_t, 64> w;
        for (std::size_t i = 0; i < 16; ++i, bytes += 4) {
            w[i] = std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 | std::uint32_t{bytes[2]} << 8 |
                   std::uint32_t{bytes[3]};
        }
        for (std::size_t i = 16; i < 64; ++i) {
            const std::uint32_t a = w[i - 15], b = w[i - 2];
            w[i] = w[i - 16] + (rotated(a, 7) ^ rotated(a, 18) ^ a >> 3) + w[i - 7] +
                   (rotated(b, 17) ^ rotated(b, 19) ^ b >> 10);
        }
        auto [a, b, c, d, e, f, g, h] = state;
        for (std::size_t i = 0; i < 64; ++i) {
            const std::uint32_t one = h + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((e & f) ^ (~e & g)) +
                                      constants[i] + w[i];
            const std::uint32_t two = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
            h = g, g = f, f = e, e = d + one, d = c, c = b, b = a, a = one + two;
        }
        const std::array<std::uint32_t, 8> more = {a, b, c, d, e, f, g, h};
        for (std::size_t i = 0; i < 8; ++i) {
            state[i] += more[i];
        }
    }

    std::string hexadecimal() const {
        std::string text;
        for (const std::uint32_t word : state) {
            for (int shift = 28; shift >= 0; shift -= 4) {
                text += "0123456789abcdef"[word >> shift & 15];
            }
        }
        return text;
    }
};

}  // namespace edgeseg
