// Pictures without a library: binary PPM in, PGM and PPM out (https://netpbm.sourceforge.net/doc/ppm.html).
#pragma once

#include <cctype>
#include <cstddef>
#include <cstdint>
#include <edgeseg/errors.hpp>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace ppm {

struct Picture {
    int height = 0, width = 0;
    std::vector<std::uint8_t> pixels;  // (height, width, 3)
};

[[noreturn]] inline void refuse(const std::string& path, const std::string& what) {
    throw edgeseg::UserError(path + " " + what + ": make one with 'ffmpeg -i PICTURE FRAME.ppm'");
}

// The next whole number of a header, in which blanks and comments may stand.
inline int number(std::istream& file, const std::string& path) {
    while (std::isspace(file.peek()) != 0 || file.peek() == '#') {
        if (file.get() == '#') {
            std::string comment;
            std::getline(file, comment);
        }
    }
    int value = 0;
    if (!(file >> value) || value < 1 || value > 1 << 15) {
        refuse(path, "has a header that is not a PPM's");
    }
    return value;
}

inline Picture read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        refuse(path, "cannot be read");
    }
    char magic[2] = {};
    file.read(magic, 2);
    if (magic[0] != 'P' || magic[1] != '6') {
        refuse(path, "is not a binary PPM (P6)");
    }
    Picture picture;
    picture.width = number(file, path);
    picture.height = number(file, path);
    if (number(file, path) != 255) {
        refuse(path, "does not have 8 bits a channel");
    }
    file.get();
    const std::size_t wanted = static_cast<std::size_t>(picture.height) * static_cast<std::size_t>(picture.width) * 3;
    picture.pixels.resize(wanted);
    file.read(reinterpret_cast<char*>(picture.pixels.data()), static_cast<std::streamsize>(wanted));
    const auto got = static_cast<std::size_t>(file.gcount());
    if (got != wanted || file.peek() != std::ifstream::traits_type::eof()) {
        refuse(path, "holds " + std::string(got < wanted ? "fewer" : "more") + " pixels than the " +
                         std::to_string(picture.width) + " x " + std::to_string(picture.height) + " of its header");
    }
    return picture;
}

// Writes P5 (one channel) or P6 (three) beside, and renames: a file of that name is always whole.
inline void write(const std::filesystem::path& path, int height, int width, int channels,
                  const std::vector<std::uint8_t>& pixels) {
    const std::filesystem::path beside = path.string() + ".part";
    {
        std::ofstream file(beside, std::ios::binary);
        file << (channels == 1 ? "P5\n" : "P6\n") << width << ' ' << height << "\n255\n";
        file.write(reinterpret_cast<const char*>(pixels.data()), static_cast<std::streamsize>(pixels.size()));
        if (!file.flush()) {
            throw edgeseg::UserError(path.string() + " cannot be written: is there such a folder, and room?");
        }
    }
    std::filesystem::rename(beside, path);
}

}  // namespace ppm
