#include "json.hpp"

namespace edgeseg {

nlohmann::json parse_json(const std::string& text) {
    try {
        return nlohmann::json::parse(text);
    } catch (const nlohmann::json::exception& e) {
        const std::string said = e.what();  // "[json.exception.parse_error.101] parse error at ..."
        const auto prefix = said.find("] ");
        throw NotJson(prefix == std::string::npos ? said : said.substr(prefix + 2));
    }
}

std::string spelled(const nlohmann::json& value) {
    return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string text_of(const nlohmann::json& object, const char* name) {
    const auto found = object.is_object() ? object.find(name) : object.end();
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace edgeseg
