/* A C program that uses the library and knows of no model. */
#include <stdio.h>

#include "digit_reader.h"

int main(void) {
  static const char* const kRows[8] = {
      "..####..", ".##..##.", ".#...##.", ".#..###.",
      "..##.##.", ".....##.", "....##..", "...##...",
  };
  unsigned char pixels[64];
  int i;
  int digit;
  for (i = 0; i < 64; ++i) {
    pixels[i] = kRows[i / 8][i % 8] == '#' ? 16 : 0;
  }
  digit = read_digit(pixels);
  for (i = 0; i < 8; ++i) {
    puts(kRows[i]);
  }
  printf("read as %d\n", digit);
  return digit == 9 ? 0 : 1;
}
