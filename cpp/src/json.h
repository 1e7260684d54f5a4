// A strict JSON reader that hands out values in document order and builds no tree.
#ifndef TVMAKE_JSON_H_
#define TVMAKE_JSON_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tvmake {

// Every function throws Error(kGraph) with the byte position when the text is not what it expects.
class JsonReader {
 public:
  explicit JsonReader(std::string_view text) : text_(text) {}

  // Calls on_member(key) for each member; it must consume the value.
  template <typename OnMember>
  void Object(OnMember&& on_member) {
    for (Open('{'); More('}');) {
      const std::string key(String());
      Expect(':');
      on_member(std::string_view(key));
    }
  }

  // Calls on_item(index) for each item; it must consume the item.
  template <typename OnItem>
  void Array(OnItem&& on_item) {
    size_t index = 0;
    for (Open('['); More(']');) on_item(index++);
  }

  int64_t Int();
  std::string_view String();  // valid until the next String()
  void Skip();                // a value of any kind
  void End();                 // nothing but white space is left

  size_t position() const { return at_; }
  [[noreturn]] void Fail(std::string_view expected) const { FailAt(at_, expected); }
  [[noreturn]] void FailAt(size_t position, std::string_view expected) const;

 private:
  static constexpr int kMaxDepth = 64;

  char Peek();  // the next character after white space, '\0' at the end
  void Expect(char c);
  void Open(char bracket);
  bool More(char bracket);  // true: an item follows; false: closed
  void Word(std::string_view word);
  void Number();
  void Escape();
  void AppendUtf8(uint32_t code_point);
  uint32_t HexQuad();

  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
  bool first_ = false;   // no item was read since the innermost bracket opened
  std::string scratch_;  // the last string that had escapes
};

}  // namespace tvmake

#endif  // TVMAKE_JSON_H_
