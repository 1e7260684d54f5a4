#!/bin/sh
# Stands in for an emulator that is not installed: missing_emulator.sh <emulator> <program> [<argument>…]
echo "tvmake: error: $1 is missing, so '$2' cannot run on this machine" >&2
echo "  fix: apt-get install qemu-user, then configure again; or run the tests on the target" >&2
exit 1
