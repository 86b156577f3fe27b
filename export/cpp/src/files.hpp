// Whole files as text.
#pragma once

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <system_error>

namespace edgeseg {

// Nothing where it cannot be read.
inline std::optional<std::string> read_file(const std::filesystem::path& path) {
    std::error_code error;
    const auto size = std::filesystem::file_size(path, error);
    std::ifstream file(path, std::ios::binary);
    if (error || !file) {
        return std::nullopt;
    }
    std::string text(size, '\0');
    file.read(text.data(), static_cast<std::streamsize>(size));
    return file ? std::optional(std::move(text)) : std::nullopt;
}

}  // namespace edgeseg
