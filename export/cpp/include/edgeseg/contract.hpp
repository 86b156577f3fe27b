// What goes into a bundle's network and what comes out: contract.json, as export/README.md describes it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "edgeseg/frame_to_input.hpp"
#include "edgeseg/logits.hpp"
#include "edgeseg/taps.hpp"

namespace edgeseg {

enum class Color { rgb, bgr };
enum class Output { logits, labels };

// Every field of the file; those that a program need not act on (mean, std, ignore_label, names of classes) are there
// to be shown.
struct Contract {
    int height = 0, width = 0;  // of the network's input
    std::vector<std::string> classes;
    std::vector<std::array<std::uint8_t, 3>> colors;  // RGB, one per class
    int stride = 0;                                   // pixels per logit
    Color color = Color::rgb;                         // order of the channels that the network takes
    std::array<double, 3> mean{}, std{};              // the graph normalises
    int ignore_label = 255;                           // in ground truth; the network never answers it
    std::string input_name, output_name;
    Fit fit = Fit::stretch;
    std::uint8_t border = 114;
    Output output = Output::logits;
    Activation activation = Activation::none;
    Interpolation interpolation = Interpolation::bilinear;
    Coordinates coordinates = Coordinates::half_pixel;

    // Of the logits: strided convolutions round up.
    int logits_height() const { return (height + stride - 1) / stride; }
    int logits_width() const { return (width + stride - 1) / stride; }
};

// The text of a contract.json. Throws ContractError for one that this version cannot honour to the letter: damaged, a
// field too few or too many, a word that it does not know.
Contract parse_contract(const std::string& text);

}  // namespace edgeseg
