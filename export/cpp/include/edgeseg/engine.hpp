// A live network on this device: what the segmenter drives, whatever library runs it.
#pragma once

#include <cstdint>
#include <string>

namespace edgeseg {

enum class Integer { u8, i32, i64 };

// What an engine returned of one frame, packed and in host memory, valid until its next call: logits, or the labels of
// a network that makes them itself.
struct Answer {
    const float* logits = nullptr;  // (classes, height, width), or (height, width, classes)
    bool channels_last = false;
    const void* labels = nullptr;  // (height, width) of that type
    Integer type = Integer::u8;
    int classes = 0, height = 0, width = 0;
};

class Engine {
   public:
    virtual ~Engine() = default;

    // Pixels uint8 (1, H, W, 3), packed, of the contract's size and order of channels. Synchronous.
    virtual Answer operator()(const std::uint8_t* pixels) = 0;

    // Memory for such pixels that the engine reads fastest: where a frame has to be copied anyway, it is copied here.
    virtual std::uint8_t* input() = 0;

    virtual std::string library() const = 0;  // "openvino 2026.4.1"
};

}  // namespace edgeseg
