// Pictures to label maps, with a bundle and no other library:
//
//     segment bundle frame.ppm --out labelled            writes labelled/frame.pgm, whose grey values are the labels
//     segment bundle frame.ppm --repeat 300              prints how long a frame takes
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <edgeseg/segmenter.hpp>
#include <exception>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "ppm.hpp"

namespace {

constexpr const char* usage =
    "segment BUNDLE FRAME.ppm... [--out FOLDER] [--overlay] [--alpha 0.5] [--repeat N] [--color rgb|bgr] "
    "[--target openvino|trt|trt-rtx] [--precision int8|fp32|...] [--threads N] [--unverified] [--no-cuda-graph]";

struct Options {
    std::string bundle;
    std::vector<std::string> frames;
    std::string out;
    edgeseg::Target target;
    edgeseg::Color color = edgeseg::Color::rgb;
    bool overlay = false;
    float alpha = 0.5f;
    int repeat = 0;
};

// By a stream: charconv knows no floats before gcc 11.
template <class T>
T number(const std::string& flag, const std::string& word) {
    std::istringstream text(word);
    T value{};
    if (!(text >> value) || text.peek() != std::istringstream::traits_type::eof()) {
        throw edgeseg::UserError(flag + " takes a number, got '" + word + "'");
    }
    return value;
}

Options parse(int count, char** words) {
    Options given;
    for (int i = 1; i < count; ++i) {
        const std::string word = words[i];
        const auto value = [&]() -> std::string {
            if (++i == count) {
                throw edgeseg::UserError(word + " takes a value; usage: " + usage);
            }
            return words[i];
        };
        if (word == "--out") {
            given.out = value();
        } else if (word == "--overlay") {
            given.overlay = true;
        } else if (word == "--unverified") {
            given.target.unverified = true;
        } else if (word == "--no-cuda-graph") {
            given.target.cuda_graph = false;
        } else if (word == "--alpha") {
            given.alpha = number<float>(word, value());
        } else if (word == "--repeat") {
            given.repeat = number<int>(word, value());
        } else if (word == "--threads") {
            given.target.threads = number<int>(word, value());
        } else if (word == "--target") {
            given.target.backend = value();
        } else if (word == "--precision") {
            given.target.precision = value();
        } else if (word == "--color") {
            const std::string color = value();
            if (color != "rgb" && color != "bgr") {
                throw edgeseg::UserError("--color is rgb or bgr, got '" + color + "'");
            }
            given.color = color == "bgr" ? edgeseg::Color::bgr : edgeseg::Color::rgb;
        } else if (word.rfind("--", 0) == 0) {
            throw edgeseg::UserError("no option " + word + "; usage: " + usage);
        } else if (given.bundle.empty()) {
            given.bundle = word;
        } else {
            given.frames.push_back(word);
        }
    }
    if (given.frames.empty()) {
        throw edgeseg::UserError(std::string("usage: ") + usage);
    }
    return given;
}

using Clock = std::chrono::steady_clock;

double ms(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double, std::milli>(to - from).count();
}

// The sample below which that share of them lies.
double percentile(std::vector<double> samples, double share) {
    std::sort(samples.begin(), samples.end());
    const auto rank = static_cast<std::size_t>(share * static_cast<double>(samples.size()));
    return samples[std::min(rank, samples.size() - 1)];
}

void time(edgeseg::Segmenter& segmenter, const edgeseg::Image& frame, std::vector<std::uint8_t>& labels, int repeat) {
    constexpr int warm_up = 5;
    std::vector<double> whole, prepare, engine, label;
    for (int i = -warm_up; i < repeat; ++i) {
        const auto start = Clock::now();
        const std::uint8_t* const pixels = segmenter.prepare(frame);
        const auto prepared = Clock::now();
        const edgeseg::Answer answer = segmenter.infer(pixels);
        const auto inferred = Clock::now();
        segmenter.label(answer, frame, labels.data());
        const auto end = Clock::now();
        if (i >= 0) {
            whole.push_back(ms(start, end));
            prepare.push_back(ms(start, prepared));
            engine.push_back(ms(prepared, inferred));
            label.push_back(ms(inferred, end));
        }
    }
    std::printf("%s, %d frames, frame to labels: min %.3f ms, median %.3f, p99 %.3f; medians: %.3f to prepare, %.3f in "
                "the engine, %.3f to labels\n",
                segmenter.library().c_str(), repeat, percentile(whole, 0), percentile(whole, 0.5),
                percentile(whole, 0.99), percentile(prepare, 0.5), percentile(engine, 0.5), percentile(label, 0.5));
}

void run(const Options& given) {
    edgeseg::Segmenter segmenter(given.bundle, given.target);
    for (const std::string& path : given.frames) {
        const ppm::Picture picture = ppm::read(path);
        const edgeseg::Image frame{picture.pixels.data(), picture.height, picture.width, given.color};
        std::vector<std::uint8_t> labels = segmenter(frame);
        if (given.repeat > 0) {
            time(segmenter, frame, labels, given.repeat);
        }
        if (given.out.empty()) {
            continue;
        }
        const std::filesystem::path name = std::filesystem::path(given.out) / std::filesystem::path(path).stem();
        std::filesystem::create_directories(given.out);
        ppm::write(name.string() + ".pgm", frame.height, frame.width, 1, labels);
        if (given.overlay) {
            std::vector<std::uint8_t> over(picture.pixels.size());
            const edgeseg::Answer answer = segmenter.infer(segmenter.prepare(frame));
            segmenter.overlay(answer, frame, labels.data(), over.data(), given.alpha);
            ppm::write(name.string() + "-overlay.ppm", frame.height, frame.width, 3, over);
        }
    }
}

}  // namespace

int main(int count, char** words) {
    try {
        run(parse(count, words));
        return 0;
    } catch (const edgeseg::Error& e) {
        std::fprintf(stderr, "error: %s\n", e.what());
        return e.exit_code();
    } catch (const std::exception& e) {
        std::fprintf(stderr, "error: %s\n", e.what());
        return 1;
    }
}
