// Puts a file's bytes into the read-only data of an object.
#ifndef TVMAKE_EMBED_H_
#define TVMAKE_EMBED_H_

#if defined(__APPLE__)
#define TVMAKE_EMBED_SECTION_ "__TEXT,__const"
#define TVMAKE_EMBED_SYMBOL_(symbol) "_" #symbol
#define TVMAKE_EMBED_HIDDEN_ ".private_extern "
#else
#define TVMAKE_EMBED_SECTION_ ".rodata,\"a\""
#define TVMAKE_EMBED_SYMBOL_(symbol) #symbol
#define TVMAKE_EMBED_HIDDEN_ ".hidden "
#endif

// Declares `extern "C" const type symbol[bytes]`, hidden, and defines it as the contents of `file`
// (a string literal), aligned to 2^`log2_alignment` bytes. At namespace scope, once per symbol. A
// file of more bytes is an error of the assembler; fewer are filled up with zeros.
#define TVMAKE_EMBED(type, symbol, bytes, file, log2_alignment)                            \
  __asm__(".pushsection " TVMAKE_EMBED_SECTION_                                          \
          "\n"                                                                           \
          ".globl " TVMAKE_EMBED_SYMBOL_(symbol) "\n"                                    \
          TVMAKE_EMBED_HIDDEN_ TVMAKE_EMBED_SYMBOL_(symbol) "\n"                         \
          ".p2align " #log2_alignment "\n"                                               \
          TVMAKE_EMBED_SYMBOL_(symbol) ":\n"                                             \
          ".incbin \"" file "\"\n"                                                       \
          ".org " TVMAKE_EMBED_SYMBOL_(symbol) " + " #bytes "\n"                         \
          ".popsection\n"); \
  extern "C" __attribute__((visibility("hidden"))) const type symbol[bytes]

#endif  // TVMAKE_EMBED_H_
