#include "json.h"

#include <algorithm>
#include <charconv>

#include "text.h"
#include "tvmake/error.h"

namespace tvmake {

void JsonReader::FailAt(size_t position, std::string_view expected) const {
  throw Error(ErrorKind::kGraph, Cat("graph JSON is damaged at byte ", position, " of ",
                                     text_.size(), ": expected ", expected, "; rebuild the model"));
}

char JsonReader::Peek() {
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return c;
    ++at_;
  }
  return '\0';
}

void JsonReader::Expect(char c) {
  if (Peek() != c || at_ == text_.size()) Fail(Quoted(std::string_view(&c, 1)));
  ++at_;
}

void JsonReader::Open(char bracket) {
  Expect(bracket);
  if (++depth_ > kMaxDepth) Fail(Cat("at most ", kMaxDepth, " nested brackets"));
  first_ = true;
}

bool JsonReader::More(char bracket) {
  if (Peek() == bracket) {
    ++at_;
    --depth_;
    first_ = false;
    return false;
  }
  if (!first_) Expect(',');
  first_ = false;
  return true;
}

int64_t JsonReader::Int() {
  Peek();
  const char* begin = text_.data() + at_;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
  if (error != std::errc()) Fail("a 64-bit integer");
  at_ = static_cast<size_t>(end - text_.data());
  const char next = at_ < text_.size() ? text_[at_] : '\0';
  if (next == '.' || next == 'e' || next == 'E') Fail("an integer without fraction or exponent");
  return value;
}

std::string_view JsonReader::String() {
  Expect('"');
  const size_t begin = at_;
  bool escaped = false;
  for (; at_ < text_.size() && text_[at_] != '"'; ++at_) {
    if (static_cast<unsigned char>(text_[at_]) < 0x20) Fail("no control character in a string");
    if (text_[at_] == '\\') {
      if (!escaped) scratch_.assign(text_, begin, at_ - begin);
      escaped = true;
      Escape();
    } else if (escaped) {
      scratch_ += text_[at_];
    }
  }
  if (at_ == text_.size()) Fail("the end of a string");
  ++at_;
  return escaped ? std::string_view(scratch_) : text_.substr(begin, at_ - 1 - begin);
}

// Leaves at_ on the last character of the escape sequence.
void JsonReader::Escape() {
  constexpr std::string_view kNames = "\"\\/bfnrt";
  constexpr std::string_view kValues = "\"\\/\b\f\n\r\t";
  if (++at_ == text_.size()) Fail("an escape sequence");
  if (const size_t i = kNames.find(text_[at_]); i != std::string_view::npos) {
    scratch_ += kValues[i];
    return;
  }
  if (text_[at_] != 'u') Fail("an escape sequence");
  uint32_t code_point = HexQuad();
  if (code_point >= 0xD800 && code_point < 0xDC00) {
    if (text_.substr(at_ + 1, 2) != "\\u") Fail("the second half of a surrogate pair");
    at_ += 2;
    const uint32_t low = HexQuad();
    if (low < 0xDC00 || low >= 0xE000) Fail("the second half of a surrogate pair");
    code_point = 0x10000 + ((code_point - 0xD800) << 10) + (low - 0xDC00);
  } else if (code_point >= 0xDC00 && code_point < 0xE000) {
    Fail("the first half of a surrogate pair");
  }
  AppendUtf8(code_point);
}

// Reads the four digits after the 'u' at at_.
uint32_t JsonReader::HexQuad() {
  uint32_t value = 0;
  const std::string_view digits = text_.substr(at_ + 1, 4);
  const char* end = digits.data() + digits.size();
  if (digits.size() != 4 || std::from_chars(digits.data(), end, value, 16).ptr != end) {
    Fail("four hexadecimal digits");
  }
  at_ += 4;
  return value;
}

void JsonReader::AppendUtf8(uint32_t code_point) {
  const auto tail = [&](int shift) {
    scratch_ += static_cast<char>(0x80 | ((code_point >> shift) & 0x3F));
  };
  if (code_point < 0x80) {
    scratch_ += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    scratch_ += static_cast<char>(0xC0 | (code_point >> 6));
    tail(0);
  } else if (code_point < 0x10000) {
    scratch_ += static_cast<char>(0xE0 | (code_point >> 12));
    tail(6);
    tail(0);
  } else {
    scratch_ += static_cast<char>(0xF0 | (code_point >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

void JsonReader::Skip() {
  switch (Peek()) {
    case '{':
      return Object([this](std::string_view) { Skip(); });
    case '[':
      return Array([this](size_t) { Skip(); });
    case '"':
      String();
      return;
    case 't':
      return Word("true");
    case 'f':
      return Word("false");
    case 'n':
      return Word("null");
    default:
      return Number();
  }
}

void JsonReader::Word(std::string_view word) {
  if (text_.substr(at_, word.size()) != word) Fail(word);
  at_ += word.size();
}

// The value is not needed, so its grammar is checked only as far as to find its end.
void JsonReader::Number() {
  const size_t begin = at_;
  at_ = std::min(text_.find_first_not_of("+-.0123456789eE", at_), text_.size());
  if (at_ == begin) Fail("a value");
}

void JsonReader::End() {
  Peek();
  if (at_ != text_.size()) Fail("the end of the text");
}

}  // namespace tvmake
