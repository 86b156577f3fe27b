// The TensorRT engine without a GPU: fake_cuda/ plays the two libraries. What real ones compute, this does not show.
#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstring>
#include <edgeseg/segmenter.hpp>
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/utsname.h>
#include <vector>

#include "engines.hpp"
#include "sha256.hpp"

namespace {

int failures = 0;

#define CHECK(holds)                                                        \
    do {                                                                    \
        if (!(holds)) {                                                     \
            ++failures;                                                     \
            std::printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #holds); \
        }                                                                   \
    } while (false)

namespace fs = std::filesystem;
using edgeseg::Target;

// Whether opening the bundle, for a target, throws an E whose message holds the words.
template <class E>
bool refuses(const fs::path& folder, const Target& target, const char* words) {
    try {
        edgeseg::open_tensorrt(edgeseg::Bundle(folder), target);
    } catch (const E& e) {
        const bool right = std::strstr(e.what(), words) != nullptr && std::strchr(e.what(), '\n') == nullptr;
        if (!right) {
            std::printf("said: %s\n", e.what());
        }
        return right;
    }
    return false;
}

void put(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

constexpr const char* fields = R"("size_hw": [4, 8], "classes": ["a", "b", "c"],
    "colors": [[1, 2, 3], [4, 5, 6], [7, 8, 9]], "color": "rgb", "mean": [0, 0, 0], "std": [1, 1, 1],
    "ignore_label": 255, "input_name": "image", "fit": "stretch", "border": 0, "activation": "none",
    "interpolation": "nearest", "coordinates": "half_pixel", )";
constexpr const char* of_logits = R"("output": "logits", "output_name": "logits", "stride": 4})";
constexpr const char* of_labels = R"("output": "labels", "output_name": "labels", "stride": 1})";

void make_bundle(const fs::path& folder, const std::string& rest) {
    const std::string contract = std::string("{") + fields + rest;
    fs::create_directories(folder);
    put(folder / "contract.json", contract);
    put(folder / "provenance.json", R"({"format": 2, "digest": "d1", "files": {"contract.json": ")" +
                                        edgeseg::Sha256::of(contract) + "\"}}");
}

void make_plan(const fs::path& folder, const std::string& network, const std::string& version = "10.3.0") {
    utsname system{};
    uname(&system);
    const fs::path plan = folder / "plans/trt-int8-sm87";
    fs::create_directories(plan);
    put(plan / "model.plan", network);
    put(plan / "plan.json", R"({"backend": "trt", "precision": "int8", "bundle_digest": "d1", "library": "tensorrt )" +
                                version + R"(", "device": "sm87", "machine": "linux-)" + system.machine + "\"}");
}

const Target int8{"trt", "int8"};

void answers(const fs::path& folder, bool graph) {
    Target target = int8;
    target.cuda_graph = graph;
    const edgeseg::Bundle bundle(folder);
    edgeseg::Segmenter segmenter(bundle.contract(), edgeseg::open_tensorrt(bundle, target));
    CHECK(segmenter.library() == "tensorrt 10.3.0");
    const long before = fake.launches;
    for (const int left : {1, 2, 0}) {
        std::vector<std::uint8_t> frame(4 * 8 * 3, 2);
        frame[0] = static_cast<std::uint8_t>(left);
        for (const edgeseg::Color color : {edgeseg::Color::rgb, edgeseg::Color::bgr}) {  // as it lies, and repacked
            std::swap(frame[0], frame[color == edgeseg::Color::rgb ? 0 : 2]);
            const auto labels = segmenter({frame.data(), 4, 8, color});
            for (std::size_t i = 0; i < labels.size(); ++i) {
                CHECK(labels[i] == (i % 8 < 4 ? left : 2));
            }
        }
    }
    CHECK(fake.launches - before == (graph ? 6 : 0));
}

}  // namespace

int main(int, char** words) {
    const fs::path folder = fs::path(words[1]) / "trt", labels = fs::path(words[1]) / "trt-labels";
    make_bundle(folder, of_logits);
    CHECK(refuses<edgeseg::PlanError>(folder, int8, "edgeseg build"));
    fs::create_directories(folder / "plans/trt");
    put(folder / "plans/trt/build_on_device.sh", "");
    CHECK(refuses<edgeseg::PlanError>(folder, int8, "build_on_device.sh"));
    make_plan(folder, "image 1 4 8 3 logits 1 3 1 2 float");
    CHECK(refuses<edgeseg::PlanError>(folder, int8, "nobody has run the golden frames"));
    Target unverified = int8;
    unverified.unverified = true;
    edgeseg::open_tensorrt(edgeseg::Bundle(folder), unverified);
    put(folder / "plans/trt-int8-sm87/verified.json", "{}");
    answers(folder, true);
    answers(folder, false);
    CHECK(refuses<edgeseg::PlanError>(folder, {"trt", "fp16"}, "trt-fp16-sm87"));
    CHECK(refuses<edgeseg::BackendMissing>(folder, {"trt-rtx"}, "runs target 'trt'"));
    fake.device = cudaErrorNoDevice;
    CHECK(refuses<edgeseg::Error>(folder, int8, "no device is here (cudaErrorNoDevice)"));
    fake.device = cudaSuccess;
    make_plan(folder, "image 1 4 8 3 logits 1 3 1 2 float", "10.4.0");
    CHECK(refuses<edgeseg::PlanError>(folder, int8, "need '10.3.0'"));
    for (const auto& [network, why] : {std::pair{"", "magic tag; build it"},
                                       {"frame 1 4 8 3 logits 1 3 1 2 float", "expected tensors 'image'"},
                                       {"image 1 4 8 3 logits 1 3 1 2 three", "and no others"},
                                       {"image 1 4 9 3 logits 1 3 1 2 float", "got (1, 4, 9, 3)"},
                                       {"image 1 4 8 3 logits 1 4 1 2 float", "got (1, 4, 1, 2)"},
                                       {"image 1 4 8 3 logits 1 3 1 2 half", "packed float32 logits"},
                                       {"image 1 4 8 3 logits 1 3 1 2 chw2", "packed float32 logits"}}) {
        make_plan(folder, network);
        CHECK(refuses<edgeseg::UserError>(folder, int8, why));
    }
    make_plan(folder, "image 1 4 8 3 logits 1 3 1 2 host");
    CHECK(refuses<edgeseg::Error>(folder, int8, "cuda_graph to false"));
    answers(folder, false);
    fs::remove(folder / "plans/trt-int8-sm87/model.plan");
    CHECK(refuses<edgeseg::PlanError>(folder, int8, "no model.plan"));
    make_bundle(labels, of_labels);
    make_plan(labels, "image 1 4 8 3 labels 1 4 8 int32");
    put(labels / "plans/trt-int8-sm87/verified.json", "{}");
    const edgeseg::Bundle bundle(labels);
    std::vector<std::uint8_t> frame(4 * 8 * 3, 1);
    frame[3] = 2;
    const auto made = edgeseg::Segmenter(bundle.contract(), edgeseg::open_tensorrt(bundle, int8))({frame.data(), 4, 8});
    CHECK(made[0] == 1 && made[1] == 2 && made[2] == 1);
    CHECK(fake.on_device.empty() && fake.pinned.empty() && fake.streams == 0 && fake.graphs == 0);
    std::printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
}
