// The headers by themselves, as a C++ program uses them: values worked out by hand, many sizes for the sanitizers to
// watch, and no allocation after the first call.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <edgeseg/frame_to_input.hpp>
#include <edgeseg/overlay.hpp>
#include <edgeseg/upsample_argmax.hpp>
#include <limits>
#include <new>
#include <random>
#include <vector>

namespace {

int failures = 0;
long allocations = 0;

void check(bool holds, const char* what, int line) {
    if (!holds) {
        std::printf("line %d: %s\n", line, what);
        ++failures;
    }
}
#define CHECK(what) check(what, #what, __LINE__)

using Image = std::vector<std::uint8_t>;

std::vector<float> noise(std::size_t n, unsigned seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal;
    std::vector<float> values(n);
    for (float& v : values) {
        v = normal(generator);
    }
    return values;
}

void crossing_lines() {  // 0 to 3 against 1.1, at -0.375, -0.125, 0.125, 0.375, ... of the way
    const float logits[] = {0.0f, 3.0f, 1.1f, 1.1f};
    std::uint8_t labels[8];
    float confidence[8];
    edgeseg::Labeller labeller;
    labeller(edgeseg::Logits<float>{logits, 2, 1, 2}, {}, {labels, 1, 8, confidence});
    for (int x = 0; x < 8; ++x) {
        CHECK(labels[x] == (x < 3 ? 1 : 0));
    }
    CHECK(std::abs(confidence[0] - 1 / (1 + std::exp(-1.1f))) < 1e-5f);
}

void odd_numbers() {
    const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
    const float logits[] = {1.0f, 1.0f, nan, nan, 2.0f, inf};  // three classes, two pixels
    std::uint8_t labels[6];
    float confidence[6];
    edgeseg::Labeller labeller;
    labeller(edgeseg::Logits<float>{logits, 3, 1, 2}, {}, {labels, 1, 6, confidence});
    for (int x = 0; x < 6; ++x) {
        CHECK(labels[x] == 1 && std::isnan(confidence[x]));
    }
}

void halves() {
    const struct {
        std::uint16_t bits;
        float value;
    } known[] = {{0x3c00, 1.0f}, {0xc000, -2.0f}, {0x7bff, 65504.0f}, {0x0001, 0x1p-24f}, {0x83ff, -1023 * 0x1p-24f},
                 {0x7c00, std::numeric_limits<float>::infinity()}, {0x8000, -0.0f}};
    for (const auto& k : known) {
        const float value = edgeseg::to_float(edgeseg::Half{k.bits});
        CHECK(value == k.value && std::signbit(value) == std::signbit(k.value));
    }
    CHECK(std::isnan(edgeseg::to_float(edgeseg::Half{0x7e00})));
}

// Every class at every pixel, one at a time, against the labeller, over sizes that end anywhere in a vector.
void many_sizes() {
    edgeseg::Labeller labeller;
    std::mt19937 random(1);
    const auto pick = [&](int most) { return static_cast<int>(random() % static_cast<unsigned>(most)) + 1; };
    for (int round = 0; round < 300; ++round) {
        const int k = pick(40), h = pick(12), w = pick(20), to_h = pick(60), to_w = pick(60);
        const auto logits = noise(static_cast<std::size_t>(k * h * w), static_cast<unsigned>(round));
        Image labels(static_cast<std::size_t>(to_h * to_w));
        std::vector<float> confidence(round % 2 == 0 ? labels.size() : 0);
        edgeseg::Logits<float> from{logits.data(), k, h, w, round % 3 == 0};
        labeller(from, {}, {labels.data(), to_h, to_w, confidence.empty() ? nullptr : confidence.data()});
        edgeseg::Axis down, across;
        down.make({h, to_h, {}, {}, 0, static_cast<float>(h)});
        across.make({w, to_w, {}, {}, 0, static_cast<float>(w)});
        for (int i = 0; i < to_h * to_w; ++i) {
            const auto y = static_cast<std::size_t>(i / to_w), x = static_cast<std::size_t>(i % to_w);
            const int y0 = down.lower[y], y1 = std::min(y0 + down.step, h - 1);
            const int x0 = across.lower[x], x1 = std::min(x0 + across.step, w - 1);
            const float fy = down.weight[y], fx = across.weight[x];
            const auto value = [&](int c) {
                const auto at = [&](int a, int b) {
                    const int place = from.channels_last ? (a * w + b) * k + c : (c * h + a) * w + b;
                    return logits[static_cast<std::size_t>(place)];
                };
                const float top = (1 - fx) * at(y0, x0) + fx * at(y0, x1);
                return (1 - fy) * top + fy * ((1 - fx) * at(y1, x0) + fx * at(y1, x1));
            };
            float best = value(0);
            for (int c = 1; c < k; ++c) {
                best = std::max(best, value(c));
            }
            CHECK(best - value(labels[static_cast<std::size_t>(i)]) < 1e-6f);
        }
    }
}

void frames() {
    edgeseg::Packer packer;
    std::mt19937 random(2);
    const auto pick = [&](int most) { return static_cast<int>(random() % static_cast<unsigned>(most)) + 1; };
    for (int round = 0; round < 300; ++round) {
        const int h = pick(40), w = pick(40), to_h = pick(40), to_w = pick(40);
        const Image pixels(static_cast<std::size_t>(h * w * 3), static_cast<std::uint8_t>(round));
        Image out(static_cast<std::size_t>(to_h * to_w * 3), 0);
        edgeseg::Frame frame{pixels.data(), h, w, w * 3};
        if (round % 2 == 0) {  // mirrored
            frame.data += (w - 1) * 3;
            frame.column = -3;
        }
        packer(frame, {to_h, to_w, round % 3 == 0, edgeseg::Fit::letterbox, static_cast<std::uint8_t>(round)},
               out.data());
        for (const std::uint8_t v : out) {
            CHECK(v == static_cast<std::uint8_t>(round));  // a grey frame with a border of the same grey
        }
    }
    const Image two = {10, 20, 30, 40, 50, 60};
    Image swapped(6);
    packer({two.data(), 1, 2, 6}, {1, 2, true}, swapped.data());
    CHECK((swapped == Image{30, 20, 10, 60, 50, 40}));
}

void overlays() {
    Image palette(256 * 3, 0);
    palette[3] = 255;
    const Image frame(6, 100), labels = {0, 1};
    Image picture(6);
    edgeseg::Blend work;
    edgeseg::overlay(labels.data(), {frame.data(), 1, 2, 6}, palette.data(), 0.5f, picture.data(), work);
    CHECK((picture == Image{50, 50, 50, 178, 50, 50}));
}

void no_allocation_after_the_first_call() {
    const int h = 16, w = 24, to_h = 128, to_w = 192;
    const auto logits = noise(19 * h * w, 3);
    const Image pixels(static_cast<std::size_t>(300 * 400 * 3)), palette(256 * 3);
    Image labels(to_h * to_w), picture(to_h * to_w * 3), input(to_h * to_w * 3);
    std::vector<float> confidence(labels.size());
    edgeseg::Labeller labeller;
    edgeseg::Packer packer;
    for (int round = 0; round < 3; ++round) {
        const long before = allocations;
        const edgeseg::Overlay over{{picture.data(), to_h, to_w, to_w * 3}, palette.data(), 0.5f, picture.data()};
        labeller(edgeseg::Logits<float>{logits.data(), 19, h, w}, {}, {labels.data(), to_h, to_w, confidence.data()},
                 &over);
        packer({pixels.data() + 399 * 3, 300, 400, 400 * 3, -3}, {to_h, to_w, true, edgeseg::Fit::letterbox},
               input.data());
        CHECK(round == 0 || allocations == before);
    }
}

}  // namespace

void* operator new(std::size_t n) {
    ++allocations;
    if (void* const p = std::malloc(n)) {
        return p;
    }
    std::abort();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }

int main() {
    crossing_lines();
    odd_numbers();
    halves();
    many_sizes();
    frames();
    overlays();
    no_allocation_after_the_first_call();
    std::printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
}
