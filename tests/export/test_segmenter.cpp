// The C++ segmenter without a library: contracts, bundles, plans and stages, with an engine that this file plays.
#include <edgeseg/segmenter.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "plan.hpp"
#include "sha256.hpp"

namespace {

int failures = 0;
long allocations = 0;

#define CHECK(holds)                                                         \
    do {                                                                     \
        if (!(holds)) {                                                      \
            ++failures;                                                      \
            std::printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #holds);  \
        }                                                                    \
    } while (false)

using Bytes = std::vector<std::uint8_t>;
using edgeseg::Color;
using nlohmann::json;
namespace fs = std::filesystem;

// Whether the call throws an E whose message holds all of the words.
template <class E, class Call>
bool throws(const Call& call, std::initializer_list<const char*> words) {
    try {
        call();
    } catch (const E& e) {
        bool all = std::strchr(e.what(), '\n') == nullptr;
        for (const char* const word : words) {
            all = all && std::strstr(e.what(), word) != nullptr;
        }
        if (!all) {
            std::printf("said: %s\n", e.what());
        }
        return all;
    }
    return false;
}

const json plain = {
    {"size_hw", {4, 8}},
    {"classes", {"road", "stra\u00dfe", "\U0001f333"}},
    {"colors", {{1, 2, 3}, {40, 50, 60}, {255, 0, 0}}},
    {"stride", 4},
    {"color", "rgb"},
    {"mean", {0.485, 0.456, 0.406}},
    {"std", {0.229, 0.224, 0.225}},
    {"ignore_label", 255},
    {"input_name", "image"},
    {"output_name", "logits"},
    {"fit", "stretch"},
    {"border", 114},
    {"output", "logits"},
    {"activation", "none"},
    {"interpolation", "bilinear"},
    {"coordinates", "half_pixel"},
};

json with(const char* field, json value) {
    json changed = plain;
    changed[field] = std::move(value);
    return changed;
}

edgeseg::Contract parse(const json& contract) { return edgeseg::parse_contract(contract.dump()); }

void contracts() {
    const edgeseg::Contract read = parse(plain);
    CHECK(read.height == 4 && read.width == 8 && read.stride == 4 && read.color == Color::rgb);
    CHECK(read.logits_height() == 1 && read.logits_width() == 2 && parse(with("stride", 3)).logits_width() == 3);
    CHECK(read.classes[1] == "straße" && read.classes[2] == "🌳");
    CHECK(edgeseg::parse_contract(plain.dump(2, ' ', true)).classes == read.classes);  // as \u escapes
    CHECK((read.colors[1] == std::array<std::uint8_t, 3>{40, 50, 60}) && read.std[2] == 0.225);
    CHECK(parse(with("coordinates", "align_corners")).coordinates == edgeseg::Coordinates::align_corners);
    CHECK(parse(with("border", 0)).border == 0 && parse(with("fit", "letterbox")).fit == edgeseg::Fit::letterbox);
    const std::pair<const char*, json> wrong[] = {
        {"size_hw", {64}},      {"size_hw", {64.5, 96}}, {"size_hw", {3, 8}},       {"size_hw", "4x8"},
        {"classes", json::array()}, {"classes", {"a", "a", "b"}}, {"classes", {"a", "b"}}, {"classes", {1, 2, 3}},
        {"colors", {{1, 2, 3}, {4, 5, 6}, {7, 8, 256}}}, {"colors", {{1, 2, 3}, {4, 5, 6}, {7, 8}}},
        {"color", "yuv"},       {"mean", {0.5, 0.5}},    {"std", {0.5, "0.5", 0.5}}, {"ignore_label", 256},
        {"ignore_label", 2},    {"stride", 0},           {"stride", true},           {"stride", nullptr},
        {"input_name", ""},     {"border", -1},          {"border", 1e9},            {"output", "labels"},
        {"fit", "crop"},        {"activation", "sigmoid"}, {"interpolation", 3},     {"coordinates", "pytorch"},
    };
    for (const auto& [field, value] : wrong) {
        const json changed = with(field, value);
        CHECK(throws<edgeseg::ContractError>([&] { parse(changed); }, {"contract.json", "export"}));
    }
    CHECK(throws<edgeseg::ContractError>([] { parse(with("crop", 1)); }, {"'crop'", "cannot honour"}));
    for (const auto& [field, value] : plain.items()) {
        json fewer = plain;
        fewer.erase(field);
        CHECK(throws<edgeseg::ContractError>([&] { parse(fewer); }, {field.c_str(), "missing"}));
    }
    const std::string text = plain.dump(2);
    for (const std::string& damaged : {text.substr(0, text.size() / 2), text + "}", std::string("[1]"), std::string(),
                                       std::string("{\"classes\": \"\xff\"}"), std::string("{\"a\": \"\\ud800\"}")}) {
        CHECK(throws<edgeseg::ContractError>([&] { edgeseg::parse_contract(damaged); }, {"contract.json"}));
    }
    CHECK(throws<edgeseg::ContractError>([] { edgeseg::parse_contract("{\n  \"stride\": ]"); }, {"line 2, column"}));
}

void sums() {
    using edgeseg::Sha256;
    CHECK(Sha256::of("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(Sha256::of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(Sha256::of(std::string(55, 'a')) == "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318");
    CHECK(Sha256::of(std::string(56, 'a')) == "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a");
    CHECK(Sha256::of(std::string(1000000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

void put(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

void bundles(const fs::path& room) {
    using edgeseg::Bundle;
    using edgeseg::BundleError;
    const fs::path folder = room / "bundle";
    fs::create_directories(folder);
    const auto seal = [&](json provenance) {
        put(folder / "contract.json", plain.dump());
        put(folder / "float.onnx", "a graph");
        for (const char* const name : {"contract.json", "float.onnx"}) {
            provenance["files"][name] = edgeseg::Sha256::of(name[0] == 'f' ? "a graph" : plain.dump());
        }
        put(folder / "provenance.json", provenance.dump());
    };
    CHECK(throws<BundleError>([&] { Bundle{folder}; }, {"not a bundle", "edgeseg export"}));
    CHECK(throws<BundleError>([&] { Bundle{folder / "nowhere"}; }, {"not a bundle"}));
    put(folder / "provenance.json", "{\"format\": 2");
    CHECK(throws<BundleError>([&] { Bundle{folder}; }, {"provenance.json is damaged", "line 1"}));
    seal({{"format", 1}, {"digest", "d"}});
    CHECK(throws<BundleError>([&] { Bundle{folder}; }, {"format 1", "reads 2"}));
    seal({{"format", 2}});
    CHECK(throws<BundleError>([&] { Bundle{folder}; }, {"names no digest"}));
    put(folder / "provenance.json", "[]");
    CHECK(throws<BundleError>([&] { Bundle{folder}; }, {"damaged", "array"}));
    seal({{"format", 2}, {"digest", "d"}});
    const Bundle bundle{folder};
    CHECK(bundle.digest() == "d" && bundle.contract().stride == 4);
    CHECK(bundle.graph("float") == folder / "float.onnx");
    CHECK(throws<BundleError>([&] { bundle.graph("int8-cpu"); }, {"no int8-cpu graph, only float", "edgeseg qat"}));
    put(folder / "float.onnx", "another");
    CHECK(throws<BundleError>([&] { bundle.graph("float"); }, {"float.onnx was changed"}));
    fs::remove(folder / "float.onnx");
    CHECK(throws<BundleError>([&] { bundle.graph("float"); }, {"float.onnx is missing"}));
    put(folder / "contract.json", plain.dump() + " ");
    CHECK(throws<BundleError>([&] { Bundle{folder}; }, {"contract.json was changed"}));
    CHECK(throws<edgeseg::BackendMissing>([&] { seal({{"format", 2}, {"digest", "d"}}); edgeseg::Segmenter{folder}; },
                                          {"without OpenVINO", "OpenVINO_DIR"}));
    CHECK(throws<edgeseg::BackendMissing>([&] { edgeseg::Segmenter(folder, {"trt"}); }, {"without TensorRT"}));
    CHECK(throws<edgeseg::UserError>([&] { edgeseg::Segmenter(folder, {"tpu"}); }, {"no target 'tpu'"}));
    CHECK(throws<edgeseg::UserError>([&] { edgeseg::Segmenter(folder, {"openvino", "int8", -1}); }, {"threads"}));
}

void plans(const fs::path& room) {
    const fs::path folder = room / "trt-int8-sm87";
    fs::create_directories(folder);
    edgeseg::PlanWanted wanted{"trt", "int8", "d1", "10.3.0", "linux-aarch64", "sm87", "run 'edgeseg build B'", true};
    const json good = {{"backend", "trt"}, {"precision", "int8"},        {"bundle_digest", "d1"},
                       {"device", "sm87"}, {"machine", "linux-aarch64"}, {"library", "tensorrt 10.3.0"}};
    const auto check = [&](const json& plan) {
        put(folder / "plan.json", plan.dump());
        edgeseg::check_plan(folder, wanted);
    };
    CHECK(throws<edgeseg::PlanError>([&] { edgeseg::check_plan(folder, wanted); }, {"no plan", "edgeseg build B"}));
    check(good);
    const auto but = [&](const char* field, const json& value) {
        json changed = good;
        changed[field] = value;
        return changed;
    };
    check(but("library", "tensorrt 10.3.0.26"));
    wanted.unverified = false;
    CHECK(throws<edgeseg::PlanError>([&] { check(good); }, {"golden frames", "edgeseg build B"}));
    put(folder / "verified.json", "{}");
    check(good);
    for (const char* const field : {"backend", "precision", "bundle_digest", "device", "machine", "library"}) {
        CHECK(throws<edgeseg::PlanError>([&] { check(but(field, "x")); }, {field, "'x'", "edgeseg build B"}));
        CHECK(throws<edgeseg::PlanError>([&] { check(but(field, 3)); }, {field}));
    }
    for (const char* const version : {"tensorrt 10.3.1", "tensorrt 10.3", "tensorrt 10.30.0", "tensorrt", ""}) {
        CHECK(throws<edgeseg::PlanError>([&] { check(but("library", version)); }, {"library", "'10.3.0'"}));
    }
    CHECK(throws<edgeseg::PlanError>([&] { check("text"); }, {"backend"}));
    put(folder / "plan.json", "{");
    CHECK(throws<edgeseg::PlanError>([&] { edgeseg::check_plan(folder, wanted); }, {"plan.json is damaged"}));
}

// Answers what it is told, and keeps what it was given.
class Player final : public edgeseg::Engine {
   public:
    Player(edgeseg::Answer told, std::size_t size, const std::uint8_t** seen) : answer(told), own(size), last(seen) {}
    edgeseg::Answer operator()(const std::uint8_t* pixels) override {
        *last = pixels;
        return answer;
    }
    std::uint8_t* input() override { return own.data(); }
    std::string library() const override { return "player 1.0"; }

   private:
    edgeseg::Answer answer;
    Bytes own;
    const std::uint8_t** last;
};

struct Playing {
    const std::uint8_t* seen = nullptr;
    edgeseg::Segmenter segmenter;

    Playing(const json& contract, const edgeseg::Answer& answer)
        : segmenter(parse(contract), std::make_unique<Player>(answer, 4 * 8 * 3, &seen)) {}
};

// Two logits pixels, three classes: class 1 on the left, class 2 on the right.
const float planes[] = {0, 0, 2, 1, 1, 2};
const float pixels[] = {0, 2, 1, 0, 1, 2};
const edgeseg::Answer first{planes, false, nullptr, {}, 3, 1, 2}, last{pixels, true, nullptr, {}, 3, 1, 2};

Bytes ramp(std::size_t size) {
    Bytes made(size);
    for (std::size_t i = 0; i < size; ++i) {
        made[i] = static_cast<std::uint8_t>(i);
    }
    return made;
}

void frames() {
    Playing play(plain, first);
    const Bytes frame = ramp(4 * 8 * 3);
    const Bytes halves = play.segmenter({frame.data(), 4, 8});
    for (std::size_t i = 0; i < halves.size(); ++i) {
        CHECK(halves[i] == (i % 8 < 4 ? 1 : 2));
    }
    CHECK(play.seen == frame.data());  // it fits, and is read where it lies
    const Bytes wide = ramp(4 * 32);
    CHECK(play.segmenter({wide.data(), 4, 8, Color::rgb, 32}) == halves);
    CHECK(play.seen != wide.data() && play.seen[24] == 32);
    CHECK(play.segmenter({wide.data() + 3 * 32, 4, 8, Color::rgb, -32}) == halves);
    CHECK(play.seen[0] == 96 && play.seen[24] == 64);  // upside down
    CHECK(play.segmenter({frame.data(), 4, 8, Color::bgr}) == halves);
    CHECK(play.seen[0] == 2 && play.seen[1] == 1 && play.seen[2] == 0);
    CHECK(Playing(plain, last).segmenter({frame.data(), 4, 8}) == halves);
    CHECK(play.segmenter.library() == "player 1.0");
    const edgeseg::Image wrong[] = {{nullptr, 4, 8}, {frame.data(), 0, 8}, {frame.data(), 4, -1},
                                    {frame.data(), 4, 8, Color::rgb, 23}, {frame.data(), 4, 8, Color::rgb, -23}};
    for (const edgeseg::Image& image : wrong) {
        CHECK(throws<edgeseg::ContractError>([&] { play.segmenter(image); }, {"expected a uint8 frame (H, W, 3)"}));
    }
    edgeseg::Answer other = first;
    other.classes = 4;
    CHECK(throws<edgeseg::ContractError>([&] { Playing(plain, other).segmenter({frame.data(), 4, 8}); }, {"answered"}));
}

// A frame as high as wide fills columns 2 to 6 of 8, one pixel of the right half and one of the left.
void letterboxes() {
    json contract = with("fit", "letterbox");
    contract["border"] = 7;
    Playing play(contract, first);
    const Bytes frame(8 * 8 * 3, 100);
    const Bytes labels = play.segmenter({frame.data(), 8, 8});
    for (std::size_t i = 0; i < labels.size(); ++i) {
        CHECK(labels[i] == (i % 8 < 4 ? 1 : 2));
    }
    CHECK(play.seen[0] == 7 && play.seen[3] == 7 && play.seen[6] == 100 && play.seen[17] == 100 && play.seen[18] == 7);
}

void made_labels() {
    json contract = with("stride", 1);
    contract["output"] = "labels";
    const Bytes small = ramp(4 * 8);
    std::vector<std::int64_t> large(small.begin(), small.end());
    edgeseg::Answer answer;
    answer.labels = small.data();
    const Bytes frame(8 * 16 * 3, 1);
    CHECK(Playing(contract, answer).segmenter({frame.data(), 4, 8}) == small);
    const Bytes twice = Playing(contract, answer).segmenter({frame.data(), 8, 16});
    CHECK(twice[0] == 0 && twice[1] == 0 && twice[2] == 1 && twice[16] == 0 && twice[32] == 8 && twice[127] == 31);
    answer.labels = large.data(), answer.type = edgeseg::Integer::i64;
    CHECK(Playing(contract, answer).segmenter({frame.data(), 8, 16}) == twice);
    contract["fit"] = "letterbox";
    const Bytes part = Playing(contract, answer).segmenter({frame.data(), 4, 4});
    CHECK((part == Bytes{2, 3, 4, 5, 10, 11, 12, 13, 18, 19, 20, 21, 26, 27, 28, 29}));
}

void overlays() {
    Playing play(plain, first);
    const Bytes frame(4 * 8 * 3, 100);
    Bytes labels(4 * 8), picture(frame.size());
    const auto over = [&](Color color, float alpha) {
        const edgeseg::Image image{frame.data(), 4, 8, color};
        const edgeseg::Answer answer = play.segmenter.infer(play.segmenter.prepare(image));
        play.segmenter.overlay(answer, image, labels.data(), picture.data(), alpha);
        return Bytes(picture.begin(), picture.begin() + 3);
    };
    CHECK((over(Color::rgb, 1) == Bytes{40, 50, 60} && over(Color::bgr, 1) == Bytes{60, 50, 40}));
    CHECK((over(Color::rgb, 0) == Bytes{100, 100, 100} && over(Color::rgb, 0.5f) == Bytes{70, 75, 80}));
    CHECK(labels[0] == 1 && labels[7] == 2);
    CHECK(throws<edgeseg::ContractError>([&] { over(Color::rgb, 1.5f); }, {"alpha"}));
}

void no_allocation_after_the_first_frame() {
    Playing play(with("fit", "letterbox"), last);
    const Bytes frame(30 * 20 * 3, 9);
    Bytes labels(30 * 20);
    for (int round = 0; round < 3; ++round) {
        const long before = allocations;
        play.segmenter({frame.data(), 30, 20, Color::bgr}, labels.data());
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

int main(int, char** words) {
    const fs::path room = words[1];
    contracts();
    sums();
    bundles(room);
    plans(room);
    frames();
    letterboxes();
    made_labels();
    overlays();
    no_allocation_after_the_first_frame();
    std::printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
}
