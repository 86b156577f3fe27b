#include "engines.hpp"

#include <algorithm>

#include "edgeseg/errors.hpp"

namespace edgeseg {
namespace {

std::string text_of(const Sides& sides) {
    std::string text = "(";
    for (const std::int64_t side : sides) {
        text += (text.size() > 1 ? ", " : "") + std::to_string(side);
    }
    return text + ")";
}

void expect(const std::string& where, const std::string& name, const Sides& want, const Sides& got) {
    if (got != want) {
        throw ContractError(where + ": expected '" + name + "' of shape " + text_of(want) + " as contract.json says, "
                            "got " + text_of(got) + ": export the bundle again");
    }
}

}  // namespace

void check_tensors(const Contract& contract, const std::string& where, const Sides& input, const Sides& output) {
    expect(where, contract.input_name, {1, contract.height, contract.width, 3}, input);
    const auto classes = static_cast<std::int64_t>(contract.classes.size());
    const Sides logits = {1, classes, contract.logits_height(), contract.logits_width()};
    const Sides labels = {1, contract.height, contract.width};
    expect(where, contract.output_name, contract.output == Output::logits ? logits : labels, output);
}

std::string one_line(std::string text) {
    text.erase(text.find_last_not_of(" \n") + 1);
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text;
}

}  // namespace edgeseg
