// CUDA's runtime played in host memory, as far as the TensorRT engine calls it: work waits on its stream until somebody
// synchronizes, a capture records instead, and a copy in the wrong direction is an error.
#pragma once

#include <cstdlib>
#include <cstring>
#include <functional>
#include <set>
#include <tuple>
#include <vector>

enum cudaError_t { cudaSuccess, cudaErrorInvalidValue, cudaErrorNoDevice, cudaErrorStreamCaptureInvalidated };
enum cudaDeviceAttr { cudaDevAttrComputeCapabilityMajor, cudaDevAttrComputeCapabilityMinor };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal };
constexpr unsigned cudaHostAllocDefault = 0, cudaStreamNonBlocking = 1;

using Work = std::vector<std::function<void()>>;
struct CUstream_st {
    Work waiting, captured;
    bool capturing = false;
    void add(std::function<void()> work) { (capturing ? captured : waiting).push_back(std::move(work)); }
};
struct CUgraph_st {
    Work work;
};
struct CUgraphExec_st {
    Work work;
};
using cudaStream_t = CUstream_st*;
using cudaGraph_t = CUgraph_st*;
using cudaGraphExec_t = CUgraphExec_st*;

struct FakeCuda {  // what the test sets, and looks at
    cudaError_t device = cudaSuccess;
    std::set<const void*> on_device, pinned;
    long streams = 0, graphs = 0, launches = 0;
};
inline FakeCuda fake;

inline const char* cudaGetErrorName(cudaError_t e) { return e == cudaErrorNoDevice ? "cudaErrorNoDevice" : "other"; }
inline const char* cudaGetErrorString(cudaError_t e) { return e == cudaErrorNoDevice ? "no device is here" : "other"; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, fake.device; }
inline cudaError_t cudaSetDevice(int) { return fake.device; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int) {
    *value = which == cudaDevAttrComputeCapabilityMajor ? 8 : 7;
    return cudaSuccess;
}
inline cudaError_t take(void** memory, std::size_t bytes, std::set<const void*>& from) {
    from.insert(*memory = std::malloc(bytes));
    return cudaSuccess;
}
inline cudaError_t give_back(void* memory, std::set<const void*>& to) {
    std::free(memory);
    return to.erase(memory) == 1 ? cudaSuccess : cudaErrorInvalidValue;
}
inline cudaError_t cudaMalloc(void** memory, std::size_t bytes) { return take(memory, bytes, fake.on_device); }
inline cudaError_t cudaFree(void* memory) { return give_back(memory, fake.on_device); }
inline cudaError_t cudaHostAlloc(void** memory, std::size_t n, unsigned) { return take(memory, n, fake.pinned); }
inline cudaError_t cudaFreeHost(void* memory) { return give_back(memory, fake.pinned); }
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t n, cudaMemcpyKind kind,
                                   cudaStream_t stream) {
    const auto& [source, goal] = kind == cudaMemcpyHostToDevice ? std::tie(fake.pinned, fake.on_device)
                                                                : std::tie(fake.on_device, fake.pinned);
    if (source.count(from) == 0 || goal.count(to) == 0) {
        return cudaErrorInvalidValue;
    }
    stream->add([=] { std::memcpy(to, from, n); });
    return cudaSuccess;
}
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
    *stream = new CUstream_st();
    ++fake.streams;
    return cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    delete stream;
    --fake.streams;
    return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    for (const auto& work : stream->waiting) {
        work();
    }
    stream->waiting.clear();
    return cudaSuccess;
}
inline cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    stream->capturing = true;
    return stream->waiting.empty() ? cudaSuccess : cudaErrorStreamCaptureInvalidated;
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
    stream->capturing = false;
    *graph = new CUgraph_st{stream->captured};
    ++fake.graphs;
    return cudaSuccess;
}
inline cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    --fake.graphs;
    return cudaSuccess;
}
inline cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* made, cudaGraph_t graph, unsigned long long) {
    *made = new CUgraphExec_st{graph->work};
    ++fake.graphs;
    return cudaSuccess;
}
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
    delete graph;
    --fake.graphs;
    return cudaSuccess;
}
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
    stream->waiting.insert(stream->waiting.end(), graph->work.begin(), graph->work.end());
    ++fake.launches;
    return cudaSuccess;
}
