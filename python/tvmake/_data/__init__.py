"""The data of an installed tvmake (cmake, cpp, templates, toolchains); empty in a checkout."""
