// TensorRT 10.3 played without a GPU, as far as the engine calls it. A plan is one line of text:
//
//     image 1 4 8 3 logits 1 3 1 2 float
//
// The network's logits of a class are 1 where the red of the cell's first pixel is that class, and 0 elsewhere; in
// integers it answers the reds themselves.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <sstream>
#include <string>

#define NV_TENSORRT_MAJOR 10
inline int getInferLibVersion() noexcept { return 100300; }

namespace nvinfer1 {

enum class DataType { kFLOAT, kHALF, kINT8, kINT32, kBOOL, kUINT8, kFP8, kBF16, kINT64 };
enum class TensorIOMode { kNONE, kINPUT, kOUTPUT };
enum class TensorFormat { kLINEAR, kCHW2 };
struct Dims {
    std::int32_t nbDims = 0;
    std::int64_t d[8] = {};
};

class ILogger {
   public:
    enum class Severity { kINTERNAL_ERROR, kERROR, kWARNING, kINFO };
    virtual void log(Severity severity, const char* text) noexcept = 0;

   protected:
    virtual ~ILogger() = default;
};

struct FakeNetwork {
    std::string in, out, type;
    Dims input{4, {}}, output{};
    bool capturable = true;

    explicit FakeNetwork(const std::string& plan) {
        std::istringstream words(plan);
        words >> in >> input.d[0] >> input.d[1] >> input.d[2] >> input.d[3] >> out;
        for (std::int64_t side = 0; words >> side;) {
            output.d[output.nbDims++] = side;
        }
        words.clear();
        words >> type;
        capturable = type != "host";
    }

    void run(const std::uint8_t* pixels, void* answer) const {
        const std::int64_t h = output.d[output.nbDims - 2], w = output.d[output.nbDims - 1];
        const std::int64_t stride = input.d[1] / h, classes = output.nbDims == 4 ? output.d[1] : 1;
        for (std::int64_t i = 0; i < classes * h * w; ++i) {
            const std::int64_t k = i / (h * w), y = i / w % h, x = i % w;
            const std::uint8_t red = pixels[(y * stride * input.d[2] + x * stride) * 3];
            if (output.nbDims == 4) {
                static_cast<float*>(answer)[i] = red == k ? 1.0f : 0.0f;
            } else {
                static_cast<std::int32_t*>(answer)[i] = red;
            }
        }
    }
};

class IExecutionContext {
   public:
    explicit IExecutionContext(const FakeNetwork& runs) : network(runs) {}
    bool setTensorAddress(const char* name, void* address) noexcept {
        (name == network.in ? in : out) = address;
        return fake.on_device.count(address) == 1;
    }
    bool enqueueV3(cudaStream_t stream) noexcept {
        if (stream->capturing && (!ran || !network.capturable)) {
            return false;  // the first run allocates, and that cannot be recorded
        }
        ran = true;
        stream->add([this] { network.run(static_cast<const std::uint8_t*>(in), out); });
        return true;
    }

   private:
    const FakeNetwork& network;
    void *in = nullptr, *out = nullptr;
    bool ran = false;
};

class ICudaEngine {
   public:
    explicit ICudaEngine(const std::string& plan) : network(plan) {}
    int getNbIOTensors() const noexcept { return network.type == "three" ? 3 : 2; }
    TensorIOMode getTensorIOMode(const char* name) const noexcept {
        return name == network.in    ? TensorIOMode::kINPUT
               : name == network.out ? TensorIOMode::kOUTPUT
                                     : TensorIOMode::kNONE;
    }
    Dims getTensorShape(const char* name) const noexcept { return name == network.in ? network.input : network.output; }
    TensorFormat getTensorFormat(const char*) const noexcept {
        return network.type == "chw2" ? TensorFormat::kCHW2 : TensorFormat::kLINEAR;
    }
    DataType getTensorDataType(const char* name) const noexcept {
        return name == network.in        ? DataType::kUINT8
               : network.type == "half"  ? DataType::kHALF
               : network.type == "int32" ? DataType::kINT32
                                         : DataType::kFLOAT;
    }
    IExecutionContext* createExecutionContext() noexcept { return new IExecutionContext(network); }

   private:
    FakeNetwork network;
};

class IRuntime {
   public:
    explicit IRuntime(ILogger& where) : log(where) {}
    ICudaEngine* deserializeCudaEngine(const void* plan, std::size_t size) noexcept {
        const std::string text(static_cast<const char*>(plan), size);
        if (text.empty()) {
            log.log(ILogger::Severity::kERROR, "Serialization assertion failed:\nmagic tag");
            log.log(ILogger::Severity::kWARNING, "a warning");
            return nullptr;
        }
        return new ICudaEngine(text);
    }

   private:
    ILogger& log;
};

inline IRuntime* createInferRuntime(ILogger& log) noexcept { return new IRuntime(log); }

}  // namespace nvinfer1
