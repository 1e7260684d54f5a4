#include "harness_report.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>

namespace tvmake::harness {
namespace {

// Characters, not bytes, of UTF-8 text.
size_t Width(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

// Three significant digits and a unit.
std::string Scale(double value, double step, std::initializer_list<const char*> units) {
  const char* const* unit = units.begin();
  while (value >= 999.5 && unit + 1 != units.end()) {
    value /= step;
    ++unit;
  }
  const int digits = value == std::floor(value) && unit == units.begin() ? 0
                     : value < 9.995                                     ? 2
                     : value < 99.95                                     ? 1
                                                                         : 0;
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f %s", digits, value, *unit);
  return text.data();
}

}  // namespace

std::string Quote(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += {'\\', c};
    } else if (static_cast<unsigned char>(c) < 0x20) {
      std::array<char, 8> escape{};
      std::snprintf(escape.data(), escape.size(), "\\u%04x", static_cast<unsigned>(c));
      quoted += escape.data();
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

std::string FormatTime(double nanoseconds) {
  return Scale(nanoseconds, 1000, {"ns", "µs", "ms", "s"});
}

std::string FormatBytes(double bytes) { return Scale(bytes, 1000, {"B", "kB", "MB", "GB"}); }

std::string FormatNumber(const char* format, double value) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), format, value);
  return text.data();
}

std::string Table::Text() const {
  std::vector<size_t> widths(sides_.size());
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Width(row[i]));
  }
  std::string text;
  for (const auto& row : rows_) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string space(widths[i] - Width(row[i]), ' ');
      line += "  " + (sides_[i] == 'r' ? space + row[i] : row[i] + space);
    }
    line.resize(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  }
  return text;
}

std::string Bold(const std::string& text) {
  static const bool styled = isatty(STDOUT_FILENO) && std::getenv("NO_COLOR") == nullptr;
  return styled ? "\x1b[1m" + text + "\x1b[0m" : text;
}

std::string Bar(double share, int width) {
  std::string bar;
  const long eighths = std::lround(share * width * 8);
  for (long full = 0; full < eighths / 8; ++full) bar += "█";
  constexpr std::array<const char*, 8> kPartial = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  return bar + kPartial[static_cast<size_t>(eighths % 8)];
}

Statistics Summarize(std::vector<int64_t> nanoseconds) {
  std::ranges::sort(nanoseconds);
  const size_t count = nanoseconds.size();
  // The smallest time that at least this share of the runs did not exceed.
  const auto percentile = [&](double share) {
    const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(count)));
    return static_cast<double>(nanoseconds[std::clamp<size_t>(rank, 1, count) - 1]);
  };
  const double sum = std::accumulate(nanoseconds.begin(), nanoseconds.end(), 0.0);
  const double median =
      static_cast<double>(nanoseconds[(count - 1) / 2] + nanoseconds[count / 2]) / 2;
  return {.min = percentile(0),
          .median = median,
          .mean = sum / static_cast<double>(count),
          .p90 = percentile(0.9),
          .p99 = percentile(0.99),
          .max = percentile(1)};
}

}  // namespace tvmake::harness
