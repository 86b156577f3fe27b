#include "edgeseg/contract.hpp"

#include <algorithm>
#include <initializer_list>
#include <set>
#include <utility>

#include "edgeseg/errors.hpp"
#include "json.hpp"

namespace edgeseg {
namespace {

using nlohmann::json;

[[noreturn]] void refuse(const std::string& what) {
    throw ContractError("contract.json: " + what + "; take the bundle's own file, or export the bundle again");
}

// The fields of the file, each of which has to be read.
class Fields {
   public:
    explicit Fields(const json& contract) : object(contract) {
        if (!object.is_object()) {
            refuse(std::string("expected an object, got ") + object.type_name());
        }
        for (const auto& [name, value] : object.items()) {
            left.insert(name);
        }
    }

    const json& take(const char* name) {
        if (left.erase(name) == 0) {
            refuse(std::string("the field '") + name + "' is missing");
        }
        return object.at(name);
    }

    int integer(const char* name, int least, int most) { return integer_of(take(name), name, least, most); }

    static int integer_of(const json& value, const char* name, int least, int most) {
        if (!value.is_number_integer() || value < least || value > most) {
            refuse(std::string("expected ") + name + " from " + std::to_string(least) + " to " + std::to_string(most) +
                   ", got " + spelled(value));
        }
        return value.get<int>();
    }

    std::string text(const char* name) { return text_of_value(take(name), name); }

    static std::string text_of_value(const json& value, const char* name) {
        if (!value.is_string() || value.get_ref<const std::string&>().empty()) {
            refuse(std::string("expected text in ") + name + ", got " + spelled(value));
        }
        return value.get<std::string>();
    }

    const json& list(const char* name, std::size_t size) { return list_of(take(name), name, size); }

    static const json& list_of(const json& value, const char* name, std::size_t size) {
        if (!value.is_array() || value.size() != size) {
            refuse("expected a list of " + std::to_string(size) + " in " + name + ", got " + spelled(value));
        }
        return value;
    }

    std::array<double, 3> triple(const char* name) {
        const json& values = list(name, 3);
        std::array<double, 3> found{};
        for (std::size_t i = 0; i < 3; ++i) {
            if (!values[i].is_number()) {
                refuse(std::string("expected numbers in ") + name + ", got " + spelled(values[i]));
            }
            found[i] = values[i].get<double>();
        }
        return found;
    }

    template <class T>
    T choice(const char* name, std::initializer_list<std::pair<const char*, T>> choices) {
        const std::string word = text(name);
        std::string known;
        for (const auto& [spelled, value] : choices) {
            if (word == spelled) {
                return value;
            }
            known += (known.empty() ? "'" : ", '") + std::string(spelled) + "'";
        }
        refuse(std::string("expected ") + name + " to be one of " + known + ", got '" + word + "'");
    }

    void nothing_else() const {
        if (!left.empty()) {
            refuse("it has a field '" + *left.begin() + "', which this program does not know and so cannot honour");
        }
    }

   private:
    const json& object;
    std::set<std::string> left;
};

void read_classes(Fields& fields, Contract& contract) {
    const json& classes = fields.take("classes");
    if (!classes.is_array() || classes.empty() || classes.size() > 255) {
        refuse("expected a list of 1 to 255 classes (labels are uint8), got " + spelled(classes));
    }
    for (const json& name : classes) {
        contract.classes.push_back(Fields::text_of_value(name, "classes"));
    }
    if (std::set(contract.classes.begin(), contract.classes.end()).size() != contract.classes.size()) {
        refuse("class names must be unique, got " + spelled(classes));
    }
    for (const json& color : fields.list("colors", contract.classes.size())) {
        Fields::list_of(color, "each of colors", 3);
        std::array<std::uint8_t, 3> rgb{};
        std::transform(color.begin(), color.end(), rgb.begin(), [](const json& value) {
            return static_cast<std::uint8_t>(Fields::integer_of(value, "colors", 0, 255));
        });
        contract.colors.push_back(rgb);
    }
}

json parsed(const std::string& text) {
    try {
        return parse_json(text);
    } catch (const NotJson& e) {
        refuse(std::string("it is damaged (") + e.what() + ")");
    }
}

}  // namespace

Contract parse_contract(const std::string& text) {
    constexpr int largest = 1 << 15;  // sides beyond which positions would not be exact in float32
    const json object = parsed(text);
    Fields fields(object);
    Contract contract;
    const json& size = fields.list("size_hw", 2);
    contract.height = Fields::integer_of(size[0], "size_hw", 1, largest);
    contract.width = Fields::integer_of(size[1], "size_hw", 1, largest);
    read_classes(fields, contract);
    contract.stride = fields.integer("stride", 1, largest);
    contract.color = fields.choice<Color>("color", {{"rgb", Color::rgb}, {"bgr", Color::bgr}});
    contract.mean = fields.triple("mean");
    contract.std = fields.triple("std");
    contract.ignore_label = fields.integer("ignore_label", static_cast<int>(contract.classes.size()), 255);
    contract.input_name = fields.text("input_name");
    contract.output_name = fields.text("output_name");
    contract.fit = fields.choice<Fit>("fit", {{"stretch", Fit::stretch}, {"letterbox", Fit::letterbox}});
    contract.border = static_cast<std::uint8_t>(fields.integer("border", 0, 255));
    contract.output = fields.choice<Output>("output", {{"logits", Output::logits}, {"labels", Output::labels}});
    contract.activation =
        fields.choice<Activation>("activation", {{"none", Activation::none}, {"softmax", Activation::softmax}});
    contract.interpolation = fields.choice<Interpolation>(
        "interpolation", {{"bilinear", Interpolation::bilinear}, {"nearest", Interpolation::nearest}});
    contract.coordinates = fields.choice<Coordinates>("coordinates", {{"half_pixel", Coordinates::half_pixel},
                                                                      {"align_corners", Coordinates::align_corners},
                                                                      {"asymmetric", Coordinates::asymmetric}});
    fields.nothing_else();
    if (contract.output == Output::labels && contract.stride != 1) {
        refuse("a network that returns labels returns one per pixel, got stride " + std::to_string(contract.stride));
    }
    if (std::min(contract.height, contract.width) < contract.stride) {
        refuse("size_hw " + spelled(size) + " is smaller than the stride " + std::to_string(contract.stride));
    }
    return contract;
}

}  // namespace edgeseg
