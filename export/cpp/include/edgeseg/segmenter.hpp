// What a robot holds: a bundle opened for a target, called with frames, answering with label maps.
//
//     edgeseg::Segmenter segmenter("bundle");
//     std::vector<std::uint8_t> labels = segmenter({pixels, 720, 1280, edgeseg::Color::bgr});
//
// The labels are those of Python's edgeseg.Segmenter on every pixel: same kernels, same graph, same settings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "edgeseg/bundle.hpp"
#include "edgeseg/contract.hpp"
#include "edgeseg/engine.hpp"
#include "edgeseg/errors.hpp"

namespace edgeseg {

// A camera's frame: uint8 (height, width, 3) of any size, read where it lies.
struct Image {
    const std::uint8_t* data = nullptr;
    int height = 0, width = 0;
    Color color = Color::rgb;
    std::ptrdiff_t row = 0;  // bytes from one row to the next, negative for one upside down; 0: packed
};

struct Target {
    std::string backend = "openvino";  // or "trt", "trt-rtx"
    std::string precision = "int8";    // or "fp32", "bf16" (OpenVINO), "fp16" (TensorRT)
    int threads = 0;                   // of a CPU engine; 0: the library's own choice
    bool unverified = false;           // TensorRT: take a plan whose golden frames nobody has run on this device
    bool cuda_graph = true;            // TensorRT: record the work of a frame once, and launch it as a whole
};

// One segmenter serves one thread. Nothing is allocated for a frame once the first of its size has passed, but for the
// vector of the overload that returns one.
class Segmenter {
   public:
    // Throws BundleError, ContractError, PlanError or BackendMissing: see errors.hpp.
    explicit Segmenter(const std::filesystem::path& bundle, const Target& target = {});
    // An engine of the caller's own, which must answer as the contract says.
    Segmenter(Contract contract, std::unique_ptr<Engine> engine);
    Segmenter(Segmenter&&) noexcept;
    Segmenter& operator=(Segmenter&&) noexcept;
    ~Segmenter();

    const Contract& contract() const;
    std::string library() const;

    // Frame to labels, uint8 (frame.height, frame.width), packed, in the caller's memory or in a new vector.
    void operator()(const Image& frame, std::uint8_t* labels);
    std::vector<std::uint8_t> operator()(const Image& frame);

    // The same in its three stages, so that each can be timed. What the first two return is valid until the next call.
    const std::uint8_t* prepare(const Image& frame);
    Answer infer(const std::uint8_t* pixels);
    void label(const Answer& answer, const Image& frame, std::uint8_t* labels);

    // The third stage, and the frame with the colours of its labels laid over it, (height, width, 3), packed, in the
    // frame's order of channels. `alpha` is from 0 (the frame) to 1 (the colours).
    void overlay(const Answer& answer, const Image& frame, std::uint8_t* labels, std::uint8_t* picture,
                 float alpha = 0.5f);

   private:
    struct State;
    std::unique_ptr<State> state;
};

}  // namespace edgeseg
