"""The machine that Bochs emulates: what a program finds there, and how it may end."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from kernels.emulated import BOCHS

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char** argv) {
  const int can = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  char text[] = "???\\n";
  if (argc != 2) abort();
  FILE* file = fopen(argv[1], "rb");
  const size_t count = fread(text, 1, sizeof(text), file);
  if (fclose(file) != 0 || count != 3) return 1;
  printf("read %s", text);
  fflush(stdout);
  if (text[0] == '0') return *(volatile int*)(text[0] - '0');
  file = fopen(argv[1], "wb");
  if (fputs(can ? "yes" : "no!", file) < 0 || fclose(file) != 0) return 2;
  return 7;
}
"""


def run(text: str, folder: Path) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run the program with a file of this text; and the file's text then."""
    BOCHS.skip_if_missing()
    (folder / "program.c").write_text(PROGRAM, encoding="utf-8")
    (folder / "file").write_text(text, encoding="utf-8")
    program = folder / "program"
    source = str(folder / "program.c")
    subprocess.run([BOCHS.compiler, "-O1", "-static", source, "-o", str(program)], check=True)
    command = [*BOCHS.emulator, str(program), str(folder / "file")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result, (folder / "file").read_text(encoding="utf-8")


def test_files_and_instruction_set(tmp_path: Path) -> None:
    result, text = run("abc", tmp_path)
    assert (result.returncode, text) == (7, "yes"), result.stdout
    assert "read abc" in result.stdout


def test_fault(tmp_path: Path) -> None:
    """A null pointer read; the file stays as it was."""
    result, text = run("012", tmp_path)
    assert (result.returncode, text) == (255, "012"), result.stdout
    assert "read 012" in result.stdout
    assert "CR2=0x0000000000000000" in result.stdout
