#include "edgeseg/bundle.hpp"

#include "edgeseg/errors.hpp"
#include "files.hpp"
#include "json.hpp"
#include "sha256.hpp"

namespace edgeseg {
namespace {

constexpr int format = 2;  // of provenance.json: 1 took normalised floats
constexpr const char* contract_file = "contract.json";
const std::string again = ": copy or export the bundle again";

nlohmann::json parsed(const std::filesystem::path& path, const std::string& text) {
    try {
        nlohmann::json object = parse_json(text);
        if (object.is_object()) {
            return object;
        }
        throw NotJson(std::string("it is no object but ") + object.type_name());
    } catch (const NotJson& e) {
        throw BundleError(path.string() + " is damaged (" + e.what() + ")" + again);
    }
}

}  // namespace

Bundle::Bundle(const std::filesystem::path& folder) : folder_(folder) {
    using nlohmann::json;
    const std::filesystem::path path = folder / "provenance.json";
    const auto text = read_file(path);
    if (!text) {
        throw BundleError(folder.string() + " is not a bundle (no provenance.json): make one with 'edgeseg export RUN "
                          "--out " + folder.string() + "'");
    }
    const json provenance = parsed(path, *text);
    const auto found = provenance.find("format");
    if (found == provenance.end() || *found != format) {
        throw BundleError(folder.string() + " has bundle format " +
                          (found == provenance.end() ? "none" : spelled(*found)) + ", this program reads " +
                          std::to_string(format) + ": export it again");
    }
    digest_ = text_of(provenance, "digest");
    adopted_ = provenance.contains("source");
    const auto files = provenance.find("files");
    if (files != provenance.end() && files->is_object()) {
        for (const auto& [name, sum] : files->items()) {
            files_[name] = text_of(*files, name.c_str());
        }
    }
    if (digest_.empty() || files_.count(contract_file) == 0) {
        throw BundleError(path.string() + " names no digest, or no contract.json" + again);
    }
    verify(contract_file);
    contract_ = parse_contract(*read_file(folder / contract_file));
}

void Bundle::verify(const std::string& name) const {
    const auto text = read_file(folder_ / name);
    if (!text) {
        throw BundleError(folder_.string() + " is incomplete: " + name + " is missing" + again);
    }
    if (Sha256::of(*text) != files_.at(name)) {
        throw BundleError((folder_ / name).string() + " was changed after it was written" + again);
    }
}

std::filesystem::path Bundle::graph(const std::string& form) const {
    for (const char* const ending : {".onnx", ".xml"}) {
        const std::string name = form + ending;
        if (files_.count(name) != 0) {
            verify(name);
            if (files_.count(form + ".bin") != 0) {  // an IR's weights lie beside it
                verify(form + ".bin");
            }
            return folder_ / name;
        }
    }
    std::string forms;
    for (const auto& [name, sum] : files_) {
        const std::filesystem::path file = name;
        if (file.extension() == ".onnx" || file.extension() == ".xml") {
            forms += (forms.empty() ? "" : ", ") + file.stem().string();
        }
    }
    throw BundleError(folder_.string() + " holds no " + form + " graph, only " + forms + ": " +
                      (adopted_ ? "adopt the model with --quantize"
                                : "it was exported from a float run; train with 'edgeseg qat RUN' and export that"));
}

}  // namespace edgeseg
