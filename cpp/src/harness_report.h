// What the harness prints: text for people, JSON for programs.
#ifndef TVMAKE_HARNESS_REPORT_H_
#define TVMAKE_HARNESS_REPORT_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tvmake::harness {

// A JSON string literal.
std::string Quote(std::string_view text);

// "12.3 µs", "4.56 ms": three digits that count.
std::string FormatTime(double nanoseconds);
// "256 B", "1.20 MB".
std::string FormatBytes(double bytes);
// A number of a fixed count of digits after the point.
std::string FormatNumber(const char* format, double value);

// Rows of cells in aligned columns, two spaces apart; columns of numbers to the right.
class Table {
 public:
  // One letter per column, 'l' or 'r', for the side that its cells stick to.
  explicit Table(std::string sides) : sides_(std::move(sides)) {}

  void Add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  std::string Text() const;

 private:
  std::string sides_;
  std::vector<std::vector<std::string>> rows_;
};

// The text in bold, if standard output is a terminal that wants style (https://no-color.org).
std::string Bold(const std::string& text);

// A bar of up to `width` characters for a share between 0 and 1.
std::string Bar(double share, int width);

// What the times of many runs amount to, in nanoseconds.
struct Statistics {
  double min, median, mean, p90, p99, max;
};
Statistics Summarize(std::vector<int64_t> nanoseconds);

}  // namespace tvmake::harness

#endif  // TVMAKE_HARNESS_REPORT_H_
