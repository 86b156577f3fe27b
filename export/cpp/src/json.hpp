// JSON of a bundle's files, by nlohmann/json (https://json.nlohmann.me). The parser is compiled once, in json.cpp.
#pragma once

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

namespace edgeseg {

// Why a text is not JSON, and where: "parse error at line 3, column 7: ...".
class NotJson : public std::runtime_error {
   public:
    using std::runtime_error::runtime_error;
};

// Strictly RFC 8259, in UTF-8. Throws NotJson.
nlohmann::json parse_json(const std::string& text);

// A value as it stands in a file, on one line.
std::string spelled(const nlohmann::json& value);

// A field of text; an empty one where it is missing or something else.
std::string text_of(const nlohmann::json& object, const char* name);

}  // namespace edgeseg
