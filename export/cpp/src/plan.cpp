#include "plan.hpp"

#include <utility>

#include "edgeseg/errors.hpp"
#include "files.hpp"
#include "json.hpp"

namespace edgeseg {
namespace {

// The first three numbers of "tensorrt 10.3.0.26".
std::string version_of(const std::string& library) {
    const std::size_t begin = library.rfind(' ') + 1;  // npos + 1 is 0
    std::size_t end = begin;
    for (int dots = 0; end < library.size() && (library[end] != '.' || ++dots < 3); ++end) {
    }
    return library.substr(begin, end - begin);
}

}  // namespace

void check_plan(const std::filesystem::path& folder, const PlanWanted& wanted) {
    const auto text = read_file(folder / "plan.json");
    if (!text) {
        throw PlanError("no plan " + folder.string() + " for this device: " + wanted.rebuild);
    }
    nlohmann::json plan;
    try {
        plan = parse_json(*text);
    } catch (const NotJson& e) {
        throw PlanError((folder / "plan.json").string() + " is damaged (" + e.what() + "): " + wanted.rebuild);
    }
    const std::pair<std::string, std::string> pairs[] = {
        {"backend", wanted.backend},
        {"precision", wanted.precision},
        {"bundle_digest", wanted.bundle_digest},
        {"library", wanted.version},
        {"machine", wanted.machine},
        {"device", wanted.device},
    };
    for (const auto& [name, want] : pairs) {
        const std::string said = text_of(plan, name.c_str());
        if ((name == "library" ? version_of(said) : said) != want) {
            throw PlanError("plan " + folder.string() + " has " + name + " '" + said +
                            "', this bundle, library and device need '" + want + "': " + wanted.rebuild);
        }
    }
    if (!wanted.unverified && !std::filesystem::exists(folder / "verified.json")) {
        throw PlanError("nobody has run the golden frames through plan " + folder.string() + " yet: " + wanted.rebuild +
                        " (which verifies it as well), or set Target::unverified and compare labels yourself");
    }
}

}  // namespace edgeseg
