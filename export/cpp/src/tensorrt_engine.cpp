// NVIDIA TensorRT 8.6 to 11, and TensorRT-RTX, https://docs.nvidia.com/deeplearning/tensorrt: a plan that was built for
// this device, and the work of a frame recorded as one CUDA graph. Which of the two libraries it is, the header says.
#include <NvInfer.h>
#include <cuda_runtime_api.h>
#include <sys/utsname.h>

#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>

#include "edgeseg/errors.hpp"
#include "engines.hpp"
#include "files.hpp"
#include "plan.hpp"

namespace edgeseg {
namespace {

#ifdef TRT_MAJOR_RTX
constexpr const char* backend = "trt-rtx";
constexpr const char* library_name = "tensorrt-rtx";
#else
constexpr const char* backend = "trt";
constexpr const char* library_name = "tensorrt";
#endif

void check(cudaError_t status, const char* what) {
    if (status != cudaSuccess) {
        throw Error(std::string("CUDA cannot ") + what + ": " + cudaGetErrorString(status) + " (" +
                    cudaGetErrorName(status) + ")");
    }
}

template <class Handle, cudaError_t (*end)(Handle)>
struct Ends {
    void operator()(Handle handle) const noexcept { end(handle); }
};
template <class Handle, cudaError_t (*end)(Handle)>
using Held = std::unique_ptr<std::remove_pointer_t<Handle>, Ends<Handle, end>>;

using Stream = Held<cudaStream_t, cudaStreamDestroy>;
using Graph = Held<cudaGraph_t, cudaGraphDestroy>;
using Recorded = Held<cudaGraphExec_t, cudaGraphExecDestroy>;

struct OnDevice {
    void operator()(void* memory) const noexcept { cudaFree(memory); }
};
struct Pinned {
    void operator()(void* memory) const noexcept { cudaFreeHost(memory); }
};

// A tensor twice: where the device reads and writes it, and in pinned memory, so that copies run beside the program.
struct Buffer {
    std::size_t bytes = 0;
    std::unique_ptr<void, OnDevice> device;
    std::unique_ptr<void, Pinned> host;

    explicit Buffer(std::size_t size) : bytes(size) {
        void* memory = nullptr;
        check(cudaMalloc(&memory, bytes), "allocate a tensor on the device");
        device.reset(memory);
        check(cudaHostAlloc(&memory, bytes, cudaHostAllocDefault), "allocate pinned memory");
        host.reset(memory);
    }
};

// Keeps what the library said last of its errors: its functions return nothing but that they failed.
class Log final : public nvinfer1::ILogger {
   public:
    void log(Severity severity, const char* text) noexcept override {
        if (severity <= Severity::kERROR) {
            std::strncpy(last, text, sizeof last - 1);
        }
    }
    std::string said() const { return last[0] != '\0' ? one_line(last) : "it gave no reason"; }

   private:
    char last[512] = {};
};

// The three numbers that a plan is tied to.
std::string runtime_version() {
    const int v = getInferLibVersion();
    const int hundreds = v < 10000 ? 10 : 100;  // 8601 is 8.6.1, and 100300 is 10.3.0
    return std::to_string(v / (100 * hundreds)) + "." + std::to_string(v / 100 % hundreds) + "." +
           std::to_string(v % 100);
}

std::string machine() {
    utsname system{};
    uname(&system);
    return std::string("linux-") + system.machine;
}

// Compute capability of the current device, as in "sm87".
std::string capability(int device) {
    int major = 0, minor = 0;
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "ask for the device's capability");
    check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "ask for the device's capability");
    return "sm" + std::to_string(major) + std::to_string(minor);
}

std::string rebuild(const Bundle& bundle, const Target& target) {
    const std::string folder = bundle.folder().string();
    const std::filesystem::path script = bundle.folder() / "plans" / backend / "build_on_device.sh";
    return "build it on this device with 'edgeseg build " + folder + " --target " + backend + " --precision " +
           target.precision + "'" + (std::filesystem::exists(script) ? " or 'sh " + script.string() + "'" : "");
}

Sides sides_of(const nvinfer1::Dims& dims) { return {dims.d, dims.d + (dims.nbDims > 0 ? dims.nbDims : 0)}; }

// Bytes of an element, and which integer it is where it is one.
std::size_t element(nvinfer1::DataType type, const Contract& contract, Integer& integer) {
    if (contract.output == Output::logits) {
        return type == nvinfer1::DataType::kFLOAT ? sizeof(float) : 0;
    }
    switch (type) {
        case nvinfer1::DataType::kUINT8: integer = Integer::u8; return 1;
        case nvinfer1::DataType::kINT32: integer = Integer::i32; return 4;
#if NV_TENSORRT_MAJOR >= 10 || defined(TRT_MAJOR_RTX)
        case nvinfer1::DataType::kINT64: integer = Integer::i64; return 8;
#endif
        default: return 0;
    }
}

class TensorrtEngine final : public Engine {
   public:
    TensorrtEngine(const Bundle& bundle, const Target& target) {
        const Contract& contract = bundle.contract();
        check(cudaGetDevice(&device), "find a device");
        open(bundle, target);
        const char* const in = contract.input_name.c_str();
        const char* const out = contract.output_name.c_str();
        const std::size_t size = check_engine(contract);
        given.emplace(static_cast<std::size_t>(contract.height) * static_cast<std::size_t>(contract.width) * 3);
        returned.emplace(size);
        if (contract.output == Output::logits) {
            answer.logits = static_cast<const float*>(returned->host.get());
        } else {
            answer.labels = returned->host.get();
        }
        context.reset(engine->createExecutionContext());
        if (context == nullptr || !context->setTensorAddress(in, given->device.get()) ||
            !context->setTensorAddress(out, returned->device.get())) {
            throw Error("TensorRT cannot make ready to run " + folder + ": " + log.said());
        }
        cudaStream_t made = nullptr;
        check(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking), "make a stream");
        stream.reset(made);
        // Once before recording: the library allocates, and TensorRT-RTX compiles, at the first run.
        std::memset(given->host.get(), 0, given->bytes);
        queue();
        check(cudaStreamSynchronize(stream.get()), "run the plan");
        if (target.cuda_graph) {
            record();
        }
    }

    Answer operator()(const std::uint8_t* pixels) override {
        check(cudaSetDevice(device), "select the device");  // each thread has a current one of its own
        if (pixels != input()) {
            std::memcpy(given->host.get(), pixels, given->bytes);
        }
        if (recorded) {
            check(cudaGraphLaunch(recorded.get(), stream.get()), "launch the recorded graph");
        } else {
            queue();
        }
        check(cudaStreamSynchronize(stream.get()), "run the plan");
        return answer;
    }

    std::uint8_t* input() override { return static_cast<std::uint8_t*>(given->host.get()); }

    std::string library() const override { return std::string(library_name) + " " + runtime_version(); }

   private:
    int device = 0;
    std::string folder;
    Log log;
    std::unique_ptr<nvinfer1::IRuntime> runtime;  // in this order, so that they go in the other
    std::unique_ptr<nvinfer1::ICudaEngine> engine;
    std::optional<Buffer> given, returned;
    Stream stream;
    std::unique_ptr<nvinfer1::IExecutionContext> context;
    Recorded recorded;
    Answer answer;

    void open(const Bundle& bundle, const Target& target) {
        const std::string capable = capability(device), remedy = rebuild(bundle, target);
        const auto path = bundle.folder() / "plans" / (std::string(backend) + "-" + target.precision + "-" + capable);
        folder = path.string();
        check_plan(path, {backend, target.precision, bundle.digest(), runtime_version(), machine(), capable, remedy,
                          target.unverified});
        const auto plan = read_file(path / "model.plan");
        if (!plan) {
            throw PlanError("plan " + folder + " has no model.plan: " + remedy);
        }
        runtime.reset(nvinfer1::createInferRuntime(log));
        if (runtime == nullptr) {
            throw Error("TensorRT does not start: " + log.said());
        }
        engine.reset(runtime->deserializeCudaEngine(plan->data(), plan->size()));
        if (engine == nullptr) {
            throw PlanError("TensorRT refuses plan " + folder + ": " + log.said() + "; " + remedy);
        }
    }

    // Refuses what is not as the contract says; notes how the answer lies, and returns its size in bytes.
    std::size_t check_engine(const Contract& contract) {
        const char* const in = contract.input_name.c_str();
        const char* const out = contract.output_name.c_str();
        if (engine->getNbIOTensors() != 2 || engine->getTensorIOMode(in) != nvinfer1::TensorIOMode::kINPUT ||
            engine->getTensorIOMode(out) != nvinfer1::TensorIOMode::kOUTPUT) {
            throw ContractError("plan " + folder + ": expected tensors '" + in + "' and '" + out +
                                "' and no others, as contract.json says: export the bundle again");
        }
        const Sides sides = sides_of(engine->getTensorShape(out));
        check_tensors(contract, "plan " + folder, sides_of(engine->getTensorShape(in)), sides);
        std::size_t size = element(engine->getTensorDataType(out), contract, answer.type);
        const bool linear = engine->getTensorFormat(in) == nvinfer1::TensorFormat::kLINEAR &&
                            engine->getTensorFormat(out) == nvinfer1::TensorFormat::kLINEAR;
        if (engine->getTensorDataType(in) != nvinfer1::DataType::kUINT8 || size == 0 || !linear) {
            throw ContractError("plan " + folder + ": expected packed uint8 pixels, and packed float32 logits or "
                                "integer labels: export the bundle again");
        }
        for (const std::int64_t side : sides) {
            size *= static_cast<std::size_t>(side);
        }
        answer.classes = static_cast<int>(contract.classes.size());
        answer.height = contract.logits_height(), answer.width = contract.logits_width();
        return size;
    }

    // Puts a frame's work on the stream: pixels to the device, network, answer back. Throws nothing on the way, because
    // a recording has to be ended first.
    std::string queued() {
        cudaError_t status = cudaMemcpyAsync(given->device.get(), given->host.get(), given->bytes,
                                             cudaMemcpyHostToDevice, stream.get());
        if (status == cudaSuccess && !context->enqueueV3(stream.get())) {
            return log.said();
        }
        if (status == cudaSuccess) {
            status = cudaMemcpyAsync(returned->host.get(), returned->device.get(), returned->bytes,
                                     cudaMemcpyDeviceToHost, stream.get());
        }
        return status == cudaSuccess ? std::string() : cudaGetErrorString(status);
    }

    void queue() {
        const std::string fault = queued();
        if (!fault.empty()) {
            throw Error("TensorRT cannot run " + folder + ": " + fault);
        }
    }

    void record() {
        check(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal), "record a graph");
        const std::string fault = queued();
        cudaGraph_t raw = nullptr;
        const cudaError_t ended = cudaStreamEndCapture(stream.get(), &raw);
        const Graph graph(raw);
        if (!fault.empty() || ended != cudaSuccess) {
            throw Error("the work of " + folder + " cannot be recorded as a CUDA graph (" +
                        (fault.empty() ? cudaGetErrorString(ended) : fault) + "): set Target::cuda_graph to false");
        }
        cudaGraphExec_t made = nullptr;
        check(cudaGraphInstantiateWithFlags(&made, graph.get(), 0), "make the recorded graph ready");
        recorded.reset(made);
    }
};

}  // namespace

std::unique_ptr<Engine> open_tensorrt(const Bundle& bundle, const Target& target) {
    if (target.backend != backend) {
        throw BackendMissing("this program was built with " + std::string(library_name) + ", which runs target '" +
                             backend + "', not '" + target.backend + "': build it with the other library");
    }
    return std::make_unique<TensorrtEngine>(bundle, target);
}

}  // namespace edgeseg
