"""The cache of built libraries: hits, misses, damage, and several builds at once.

Most tests use a library of one function in the place of the runtime: the rules are the same.
"""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cmake_support.project import Project, copy_tvmake, steps

LIBRARY = """
_tvmake_library(answer TYPE STATIC OUTPUT_NAME answer SOURCES ${CMAKE_SOURCE_DIR}/answer.cc
  FILES ${CMAKE_SOURCE_DIR}/answer.h INCLUDES ${CMAKE_SOURCE_DIR} OPTIONS -O2
  DEFINITIONS ANSWER=${ANSWER})
add_executable(ask ask.cc)
target_link_libraries(ask PRIVATE answer)
"""
FROM_CACHE = "libanswer.a comes from the cache"


@pytest.fixture
def caching(tmp_path: Path) -> Project:
    """A project with one cached library and a cache folder of its own."""
    return _project(tmp_path, "first", tmp_path / "cache")


def _project(folder: Path, name: str, cache: Path) -> Project:
    project = Project(folder / name, environment={"TVMAKE_CACHE_DIR": str(cache)})
    project.write(LIBRARY)
    sources = {
        "answer.h": "int Answer();\n",
        "answer.cc": '#include "answer.h"\nint Answer() { return ANSWER; }\n',
        "ask.cc": "int Answer();\nint main() { return Answer() == 42 ? 0 : 1; }\n",
    }
    for file, text in sources.items():
        (project.folder / file).write_text(text, encoding="utf-8")
    return project


def _make(project: Project, *options: str) -> str:
    said = project.configure("-DANSWER=42", *options).check()
    said += project.build().check()
    project.run(project.build_folder / "ask").check()
    return said


def _entry(project: Project) -> Path:
    (entry,) = (Path(project.environment["TVMAKE_CACHE_DIR"]) / "lib").iterdir()
    return entry


def test_second_build_tree_takes_the_library_from_the_cache(
    caching: Project, tmp_path: Path
) -> None:
    said = _make(caching)
    assert FROM_CACHE not in said
    assert any("sources.cc" in step for step in steps(said))
    assert {path.name for path in _entry(caching).iterdir()} == {
        "libanswer.a",
        "identity.txt",
        "sha256",
    }
    second = _project(tmp_path, "second", tmp_path / "cache")
    said = _make(second)
    assert FROM_CACHE in said
    assert not any("sources.cc" in step for step in steps(said))


def test_build_types_share_an_entry_but_other_flags_do_not(caching: Project) -> None:
    _make(caching, "-DCMAKE_BUILD_TYPE=Debug")
    for number, options in enumerate(
        (["-DCMAKE_BUILD_TYPE=Release"], ["-DCMAKE_CXX_FLAGS=-O3 -g"], ["-DCMAKE_BUILD_TYPE="])
    ):
        assert FROM_CACHE in _make(_tree(caching, f"same{number}"), *options)
    for number, options in enumerate(
        (["-DCMAKE_CXX_FLAGS=-march=native"], ["-DCMAKE_CXX_FLAGS_DEBUG=-fno-rtti -g"])
    ):
        said = _make(_tree(caching, f"other{number}"), "-DCMAKE_BUILD_TYPE=Debug", *options)
        assert FROM_CACHE not in said


def _tree(project: Project, name: str) -> Project:
    """The same project with another build tree."""
    return Project(project.folder, build_name=name, environment=project.environment)


@pytest.mark.parametrize("file", ["answer.cc", "answer.h"])
def test_changed_file_is_another_entry(caching: Project, file: str) -> None:
    _make(caching)
    with (caching.folder / file).open("a", encoding="utf-8") as stream:
        stream.write("// changed\n")
    assert FROM_CACHE not in _make(_tree(caching, "changed"))


@pytest.mark.parametrize("compiler", ["clang++"])
def test_other_compiler_is_another_entry(caching: Project, compiler: str) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    _make(caching)
    said = _make(_tree(caching, compiler), f"-DCMAKE_CXX_COMPILER={compiler}")
    assert FROM_CACHE not in said


def test_decision_stays_when_configuring_again(caching: Project) -> None:
    _make(caching)  # built here, and in the cache since
    assert "no work to do" in _make(caching)
    cached = _tree(caching, "cached")
    _make(cached)
    shutil.rmtree(_entry(caching))
    assert "no work to do" in _make(cached)


def test_removed_copy_comes_back(caching: Project) -> None:
    _make(caching)
    cached = _tree(caching, "cached")
    _make(cached)
    (cached.build_folder / "tvmake/answer/cached/libanswer.a").unlink()
    said = cached.build().check()
    assert FROM_CACHE in said
    cached.run(cached.build_folder / "ask").check()


@pytest.mark.parametrize("damage", ["truncated", "without library", "without checksum", "empty"])
def test_damaged_entry_is_built_again_and_replaced(caching: Project, damage: str) -> None:
    _make(caching)
    entry = _entry(caching)
    library = entry / "libanswer.a"
    whole = library.read_bytes()
    if damage == "truncated":
        library.write_bytes(whole[:-8])
    elif damage == "without library":
        library.unlink()
    elif damage == "without checksum":
        (entry / "sha256").unlink()
    else:
        shutil.rmtree(entry)
        entry.mkdir()
    said = _make(_tree(caching, "again"))
    assert "is damaged; libanswer.a is built again" in said
    assert library.read_bytes() == whole
    assert FROM_CACHE in _make(_tree(caching, "third"))


def test_cache_that_cannot_be_written_does_not_fail_the_build(tmp_path: Path) -> None:
    blocked = tmp_path / "cache"
    blocked.write_text("a file in the place of the folder", encoding="utf-8")
    assert "libanswer.a is not cached" in _make(_project(tmp_path, "first", blocked))


def test_source_edited_after_configuring_is_not_published_as_the_old_one(caching: Project) -> None:
    caching.configure("-DANSWER=42").check()
    source = caching.folder / "answer.cc"
    old = source.read_text("utf-8")
    # What the build compiles is not what the configure run hashed. Ninja would configure again.
    source.write_text(old.replace("ANSWER", "7"), encoding="utf-8")
    build = caching.build_folder / "build.ninja"
    text = build.read_text("utf-8")
    build.write_text(text.replace(str(source) + " ", ""), encoding="utf-8")
    caching.run("cmake", "--build", caching.build_folder, "--target", "answer")
    source.write_text(old, encoding="utf-8")
    _make(_tree(caching, "clean"))  # and `ask` gives the right answer


def test_many_builds_at_once(tmp_path: Path) -> None:
    projects = [_project(tmp_path, f"p{number}", tmp_path / "cache") for number in range(4)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(_make, projects))
    entry = _entry(projects[0])  # there is one, and nothing temporary beside it
    assert (entry / "sha256").read_text("utf-8").strip() == _sha256(entry / "libanswer.a")
    assert FROM_CACHE in _make(_project(tmp_path, "last", tmp_path / "cache"))


def _sha256(path: Path) -> str:
    output = subprocess.run(["sha256sum", path], check=True, capture_output=True, text=True).stdout
    return output.split()[0]


def test_two_runtimes_built_at_once(tmp_path: Path) -> None:
    """The real thing, in two copies of tvmake at different places: same bytes, one entry."""
    environment = {"TVMAKE_CACHE_DIR": str(tmp_path / "cache")}
    projects = []
    for number in range(2):
        tvmake = copy_tvmake(tmp_path / f"tvmake{number}")
        project = Project(tmp_path / f"p{number}", tvmake, environment=environment)
        project.write("tvmake_runtime(LINKAGE EXTERNAL)")
        project.configure().check()
        projects.append(project)
    with ThreadPoolExecutor() as pool:
        for said in pool.map(lambda project: project.build("-j1").check(), projects):
            assert "libtvm_runtime.a" in said
    first, second = (
        (project.build_folder / "tvmake/tvmake_runtime_external/built/libtvm_runtime.a")
        for project in projects
    )
    assert first.read_bytes() == second.read_bytes()
    entry = _entry(projects[0])
    assert (entry / "libtvm_runtime.a").read_bytes() == first.read_bytes()
