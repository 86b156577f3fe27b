// The engines that this build may hold, each in a file of its own, and what they have in common.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "edgeseg/bundle.hpp"
#include "edgeseg/engine.hpp"
#include "edgeseg/segmenter.hpp"

namespace edgeseg {

std::unique_ptr<Engine> open_openvino(const Bundle& bundle, const Target& target);
std::unique_ptr<Engine> open_tensorrt(const Bundle& bundle, const Target& target);

using Sides = std::vector<std::int64_t>;

// Throws ContractError where a network's tensors are not what the contract promises. `input` is uint8 (1, H, W, 3);
// `output` is float32 (1, K, h, w), or integers (1, H, W). `where` names the network.
void check_tensors(const Contract& contract, const std::string& where, const Sides& input, const Sides& output);

// What a library said, as a message of one line.
std::string one_line(std::string text);

}  // namespace edgeseg
