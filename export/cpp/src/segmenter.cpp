#include "edgeseg/segmenter.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "edgeseg/frame_to_input.hpp"
#include "edgeseg/upsample_argmax.hpp"
#include "engines.hpp"

namespace edgeseg {
namespace {

using Palette = std::array<std::uint8_t, 256 * 3>;

std::unique_ptr<Engine> open_engine([[maybe_unused]] const Bundle& bundle, const Target& target) {
    if (target.threads < 0) {
        throw UserError("threads must be 0 (the library's choice) or more, got " + std::to_string(target.threads));
    }
    if (target.backend == "openvino") {
#ifdef EDGESEG_HAS_OPENVINO
        return open_openvino(bundle, target);
#else
        throw BackendMissing("this program was built without OpenVINO: configure it again with -DOpenVINO_DIR=FOLDER");
#endif
    }
    if (target.backend == "trt" || target.backend == "trt-rtx") {
#ifdef EDGESEG_HAS_TENSORRT
        return open_tensorrt(bundle, target);
#else
        throw BackendMissing("this program was built without TensorRT: configure it again where NvInfer.h and CUDA's "
                             "runtime are, with -DEDGESEG_TENSORRT=ON");
#endif
    }
    throw UserError("no target '" + target.backend + "'; this program knows openvino, trt and trt-rtx");
}

void check_image(const Image& frame) {
    const std::ptrdiff_t packed = std::ptrdiff_t{frame.width} * 3;
    if (frame.data == nullptr || frame.height < 1 || frame.width < 1 ||
        (frame.row != 0 && std::abs(frame.row) < packed)) {
        throw ContractError("expected a uint8 frame (H, W, 3), got " + std::to_string(frame.height) + " x " +
                            std::to_string(frame.width) + " with rows of " + std::to_string(frame.row) +
                            " bytes: convert grey or alpha frames before the call");
    }
}

Frame view(const Image& frame) {
    return {frame.data, frame.height, frame.width, frame.row != 0 ? frame.row : std::ptrdiff_t{frame.width} * 3};
}

// Begin and length in logits pixels, along one axis, of a frame of `frame` pixels that fills `length` of the network's
// input from `begin` on.
struct Span {
    double begin, length;
};

Span span(int begin, int length, int frame, int size, int logits, Coordinates coordinates) {
    double ratio = static_cast<double>(logits) / size;
    if (coordinates == Coordinates::half_pixel) {
        return {begin * ratio, length * ratio};
    }
    const double first = begin + 0.5 * length / frame - 0.5;  // centre of the frame's first pixel, in the input
    if (coordinates == Coordinates::asymmetric) {
        return {first * ratio, length * ratio};
    }
    ratio = static_cast<double>(logits - 1) / std::max(size - 1, 1);
    return {first * ratio, static_cast<double>(std::int64_t{frame - 1} * length) / frame * ratio + 1};
}

// Of each output pixel along one axis, the label that its centre falls on.
void nearest(const Span& part, int out, int in, std::vector<int>& places) {
    places.resize(static_cast<std::size_t>(out));
    for (int i = 0; i < out; ++i) {
        const auto at = static_cast<int>((i + 0.5) * part.length / out + part.begin);
        places[static_cast<std::size_t>(i)] = std::clamp(at, 0, in - 1);
    }
}

}  // namespace

struct Segmenter::State {
    Contract contract;
    std::unique_ptr<Engine> engine;
    Packer packer;
    Labeller labeller;
    Blend blend;
    Palette palettes[2]{};  // in the order of each Color; labels without a colour are black
    std::vector<int> rows, columns;

    State(Contract given, std::unique_ptr<Engine> runs) : contract(std::move(given)), engine(std::move(runs)) {
        for (std::size_t k = 0; k < contract.colors.size(); ++k) {
            for (std::size_t c = 0; c < 3; ++c) {
                palettes[0][3 * k + c] = contract.colors[k][c];
                palettes[1][3 * k + c] = contract.colors[k][2 - c];
            }
        }
    }

    Input wanted(const Image& frame) const {
        return {contract.height, contract.width, frame.color != contract.color, contract.fit, contract.border};
    }

    // What the frame covers of the logits: rows, columns. All of them where frames are stretched.
    std::pair<Span, Span> window(const Image& frame) const {
        const int height = contract.logits_height(), width = contract.logits_width();
        if (contract.fit == Fit::stretch) {
            return {{0, static_cast<double>(height)}, {0, static_cast<double>(width)}};
        }
        const Placement at = place(frame.height, frame.width, wanted(frame));
        return {span(at.top, at.height, frame.height, contract.height, height, contract.coordinates),
                span(at.left, at.width, frame.width, contract.width, width, contract.coordinates)};
    }

    void upsample(const Answer& answer, const Image& frame, std::uint8_t* labels, const Overlay* over) {
        Logits<float> logits{answer.logits, answer.classes, answer.height, answer.width, answer.channels_last};
        logits.activation = contract.activation;
        Resampling how{contract.coordinates, contract.interpolation};
        if (contract.fit == Fit::letterbox) {
            const auto [down, across] = window(frame);
            how.top = static_cast<float>(down.begin), how.left = static_cast<float>(across.begin);
            how.height = static_cast<float>(down.length), how.width = static_cast<float>(across.length);
        }
        labeller(logits, how, {labels, frame.height, frame.width}, over);
    }

    template <class T>
    void resample(const T* made, const Image& frame, std::uint8_t* labels) {
        const auto [down, across] = window(frame);
        nearest(down, frame.height, contract.height, rows);
        nearest(across, frame.width, contract.width, columns);
        for (const int row : rows) {
            const T* const from = made + std::ptrdiff_t{row} * contract.width;
            for (const int column : columns) {
                *labels++ = static_cast<std::uint8_t>(from[column]);
            }
        }
    }

    void take(const Answer& answer, const Image& frame, std::uint8_t* labels) {
        switch (answer.type) {
            case Integer::u8: return resample(static_cast<const std::uint8_t*>(answer.labels), frame, labels);
            case Integer::i32: return resample(static_cast<const std::int32_t*>(answer.labels), frame, labels);
            case Integer::i64: return resample(static_cast<const std::int64_t*>(answer.labels), frame, labels);
        }
    }

    void check_answer(const Answer& answer) const {
        const bool fits = contract.output == Output::labels
                              ? answer.labels != nullptr
                              : answer.logits != nullptr &&
                                    answer.classes == static_cast<int>(contract.classes.size()) &&
                                    answer.height == contract.logits_height() &&
                                    answer.width == contract.logits_width();
        if (!fits) {
            throw ContractError("the engine answered otherwise than contract.json says: take what infer() returned");
        }
    }
};

Segmenter::Segmenter(const std::filesystem::path& bundle, const Target& target) {
    const Bundle opened(bundle);
    state = std::make_unique<State>(opened.contract(), open_engine(opened, target));
}

Segmenter::Segmenter(Contract contract, std::unique_ptr<Engine> engine)
    : state(std::make_unique<State>(std::move(contract), std::move(engine))) {}

Segmenter::Segmenter(Segmenter&&) noexcept = default;
Segmenter& Segmenter::operator=(Segmenter&&) noexcept = default;
Segmenter::~Segmenter() = default;

const Contract& Segmenter::contract() const { return state->contract; }

std::string Segmenter::library() const { return state->engine->library(); }

void Segmenter::operator()(const Image& frame, std::uint8_t* labels) { label(infer(prepare(frame)), frame, labels); }

std::vector<std::uint8_t> Segmenter::operator()(const Image& frame) {
    check_image(frame);
    std::vector<std::uint8_t> labels(static_cast<std::size_t>(frame.height) * static_cast<std::size_t>(frame.width));
    (*this)(frame, labels.data());
    return labels;
}

const std::uint8_t* Segmenter::prepare(const Image& frame) {
    check_image(frame);
    const Input wanted = state->wanted(frame);
    const Frame pixels = view(frame);
    if (!wanted.swap_channels && frame.height == wanted.height && frame.width == wanted.width &&
        pixels.row == std::ptrdiff_t{frame.width} * 3) {
        return frame.data;
    }
    std::uint8_t* const input = state->engine->input();
    state->packer(pixels, wanted, input);
    return input;
}

Answer Segmenter::infer(const std::uint8_t* pixels) { return (*state->engine)(pixels); }

void Segmenter::label(const Answer& answer, const Image& frame, std::uint8_t* labels) {
    check_image(frame);
    state->check_answer(answer);
    if (answer.logits != nullptr) {
        state->upsample(answer, frame, labels, nullptr);
    } else {
        state->take(answer, frame, labels);
    }
}

void Segmenter::overlay(const Answer& answer, const Image& frame, std::uint8_t* labels, std::uint8_t* picture,
                        float alpha) {
    check_image(frame);
    state->check_answer(answer);
    if (!(alpha >= 0.0f && alpha <= 1.0f)) {
        throw ContractError("alpha is from 0 (the frame) to 1 (the colours), got " + std::to_string(alpha));
    }
    const std::uint8_t* const palette = state->palettes[frame.color == Color::bgr ? 1 : 0].data();
    if (answer.logits != nullptr) {
        const Overlay over{view(frame), palette, alpha, picture};
        state->upsample(answer, frame, labels, &over);
    } else {
        state->take(answer, frame, labels);
        edgeseg::overlay(labels, view(frame), palette, alpha, picture, state->blend);
    }
}

}  // namespace edgeseg
