// Labels from a network's logits, in C++ and no library:
//
//     g++ -std=c++17 -O3 -ffp-contract=off -I"$(edgeseg --include-dir)" labels.cpp -o labels
//     ./labels 19 64 128 512 1024 < logits.f32 > labels.pgm
//
// reads float32 (classes, h, w) as the engine wrote them and writes a picture whose grey values are the labels.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <edgeseg/upsample_argmax.hpp>
#include <vector>

int main(int count, char** words) {
    if (count != 6) {
        std::fprintf(stderr, "usage: labels CLASSES h w HEIGHT WIDTH < logits.f32 > labels.pgm\n");
        return 2;
    }
    const int classes = std::atoi(words[1]), h = std::atoi(words[2]), w = std::atoi(words[3]);
    const int height = std::atoi(words[4]), width = std::atoi(words[5]);
    std::vector<float> logits(static_cast<std::size_t>(classes) * h * w);
    std::vector<std::uint8_t> labels(static_cast<std::size_t>(height) * width);
    if (std::fread(logits.data(), sizeof(float), logits.size(), stdin) != logits.size()) {
        std::fprintf(stderr, "fewer logits than %d x %d x %d\n", classes, h, w);
        return 2;
    }
    edgeseg::Labeller labeller;  // one for all frames: it keeps its buffers
    labeller(edgeseg::Logits<float>{logits.data(), classes, h, w}, {}, {labels.data(), height, width});
    std::printf("P5\n%d %d\n255\n", width, height);
    std::fwrite(labels.data(), 1, labels.size(), stdout);
    return 0;
}
