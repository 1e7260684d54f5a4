// A test is a program; a failed CHECK says where and why, and the program's exit code tells CTest.
#ifndef TVMAKE_TESTS_CHECK_H_
#define TVMAKE_TESTS_CHECK_H_

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "tvmake/error.h"

namespace tvmake::test {

[[noreturn]] inline void Fail(const char* file, int line, const std::string& what) {
  std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
  std::exit(1);
}

// Runs `body`, which must throw an Error of `kind` whose text contains `part`.
template <typename Body>
void CheckThrows(const char* file, int line, ErrorKind kind, std::string_view part, Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    const std::string text = error.what();
    if (error.kind() == kind && text.find(part) != std::string::npos) return;
    Fail(file, line,
         "expected '" + std::string(part) + "' in an error of kind " +
             std::to_string(static_cast<int>(kind)) + ", got kind " +
             std::to_string(static_cast<int>(error.kind())) + ": " + text);
  }
  Fail(file, line, "expected an error with '" + std::string(part) + "', got none");
}

}  // namespace tvmake::test

// Variadic, so that a condition may have commas.
#define CHECK(...)                                                             \
  do {                                                                         \
    if (!(__VA_ARGS__)) {                                                      \
      ::tvmake::test::Fail(__FILE__, __LINE__, "CHECK failed: " #__VA_ARGS__); \
    }                                                                          \
  } while (false)

#define CHECK_THROWS(kind, part, ...)                                              \
  ::tvmake::test::CheckThrows(__FILE__, __LINE__, ::tvmake::ErrorKind::kind, part, \
                              [&] { __VA_ARGS__; })

#endif  // TVMAKE_TESTS_CHECK_H_
