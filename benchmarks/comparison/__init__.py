"""Measures tvmake beside other ways to run a network."""
