"""What the tests of the CMake package share."""
