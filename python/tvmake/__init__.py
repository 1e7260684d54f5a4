"""tvmake: a model file becomes a C++ library, inside the build that the product already has."""

__version__ = "0.1.0"
