"""Compiled kernels on disk: loaded by the next process, never stale, never half written, and never needed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import fastconv as fc
import processes

OUTER = """
from fastconv_kernels.cpu.compile import serial, threaded
from numba import prange

from .inner import scaled


@serial
def outer(x):
    return scaled(x) + x


@threaded
def shared(x, threads):
    for thread in prange(threads):
        x[thread] = scaled(x[thread])


def adder(term):
    @serial
    def add(x):
        return x + term

    return add


add_one, add_ten = adder(1), adder(10)
"""
INNER = """
from fastconv_kernels.cpu.compile import inlined


@inlined
def scaled(x):
    return 3 * x
"""
CALL = """
import json
from fastconv_kernels.sample.outer import outer
result = outer(2.0)
print(json.dumps({"result": result, "compiled": sum(outer.stats.cache_misses.values())}))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the kernels' sources, with a kernel in two files that a test may edit."""
    folder = tmp_path / "sources"
    original = processes.ROOT / "kernels/fastconv_kernels"
    shutil.copytree(original, folder / "fastconv_kernels", ignore=shutil.ignore_patterns("__pycache__"))
    sample = folder / "fastconv_kernels/sample"
    sample.mkdir()
    for name, content in (("__init__.py", ""), ("outer.py", OUTER), ("inner.py", INNER)):
        (sample / name).write_text(content)
    return folder


def call(package: Path, cache: Path, script: str = CALL, **environment: object) -> Any:
    return processes.run(script, paths=(package,), FASTCONV_CACHE_DIR=cache, **environment)


def files(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


def test_second_process_loads(package: Path, tmp_path: Path) -> None:
    assert call(package, tmp_path / "cache") == {"result": 8.0, "compiled": 1}
    assert call(package, tmp_path / "cache") == {"result": 8.0, "compiled": 0}


def test_edited_imported_function_is_compiled_anew(package: Path, tmp_path: Path) -> None:
    call(package, tmp_path / "cache")
    inner = package / "fastconv_kernels/sample/inner.py"
    inner.write_text(INNER.replace("3 * x", "5 * x"))
    assert call(package, tmp_path / "cache") == {"result": 12.0, "compiled": 1}
    inner.write_text(INNER)
    assert call(package, tmp_path / "cache") == {"result": 8.0, "compiled": 0}


@pytest.mark.parametrize("damage", ["empty", "short", "cut", "flipped"])
def test_damaged_file_is_compiled_anew_and_replaced(package: Path, tmp_path: Path, damage: str) -> None:
    cache = tmp_path / "cache"
    call(package, cache)
    for path in files(cache):
        whole = path.read_bytes()
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        path.write_bytes({"empty": b"", "short": whole[:20], "cut": whole[:-1], "flipped": flipped}[damage])
    assert call(package, cache) == {"result": 8.0, "compiled": 1}
    assert call(package, cache) == {"result": 8.0, "compiled": 0}


def test_folder_that_cannot_exist(package: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")  # permissions do not stop every user, this does
    process = processes.start(CALL, paths=(package,), FASTCONV_CACHE_DIR=tmp_path / "file" / "cache")
    answer, errors = processes.finish(process)
    assert answer == {"result": 8.0, "compiled": 1}
    assert errors.count("RuntimeWarning") == 1
    assert "FASTCONV_CACHE_DIR" in errors


def test_file_that_cannot_be_read_or_replaced(package: Path, tmp_path: Path) -> None:
    call(package, tmp_path / "cache")
    for path in files(tmp_path / "cache"):
        path.unlink()
        path.mkdir()
    process = processes.start(CALL, paths=(package,), FASTCONV_CACHE_DIR=tmp_path / "cache")
    answer, errors = processes.finish(process)
    assert answer == {"result": 8.0, "compiled": 1}
    assert errors.count("RuntimeWarning") == 1
    assert not files(tmp_path / "cache"), "a temporary file was left behind"


def test_user_without_home_folder(package: Path, tmp_path: Path) -> None:
    homeless = """
import pathlib, sys, warnings
def home(cls):
    raise RuntimeError("Could not determine home directory.")
pathlib.Path.home = classmethod(home)
sys.platform = "linux"
warnings.simplefilter("ignore")
"""
    answer = processes.run(homeless + CALL, paths=(package,), FASTCONV_CACHE_DIR="", XDG_CACHE_HOME="")
    assert answer == {"result": 8.0, "compiled": 1}


def test_processes_at_once(package: Path, tmp_path: Path) -> None:
    script = """
import json, os, sys, time
import numpy as np
from fastconv_kernels.sample.outer import outer, shared
order = [np.float32, np.float64, np.int32, np.int64]
order = order[int(os.environ["TURN"]):] + order[:int(os.environ["TURN"])]
open(os.environ["READY"], "w").close()
while len(os.listdir(os.path.dirname(os.environ["READY"]))) < 4:
    time.sleep(0.001)
results = {}
for dtype in order:
    x = np.full(1, 2, dtype)
    shared(x, 1)
    results[dtype.__name__] = [float(outer(dtype(2))), float(x[0])]
dispatchers = outer, shared.serial
print(json.dumps([results, sum(sum(d.stats.cache_misses.values()) for d in dispatchers)]))
"""
    (tmp_path / "ready").mkdir()
    common = {"paths": (package,), "FASTCONV_CACHE_DIR": tmp_path / "cache"}
    turns = [processes.start(script, TURN=turn, READY=tmp_path / f"ready/{turn}", **common) for turn in range(4)]
    expected = {dtype: [8.0, 6.0] for dtype in ("float32", "float64", "int32", "int64")}
    for process in turns:
        (results, _), errors = processes.finish(process)
        assert results == expected
        assert "Warning" not in errors
    assert processes.run(script, TURN=0, READY=tmp_path / "ready/0", **common) == [expected, 0]
    assert not [path for path in files(tmp_path / "cache") if path.suffix != ".kernel"]


def test_closures_and_parallel_twins_are_kept_apart(package: Path, tmp_path: Path) -> None:
    script = """
import json
import numpy as np
from fastconv_kernels.sample.outer import add_one, add_ten, shared
x = np.ones(2)
shared(x, 1)
shared(x, 2)
dispatchers = add_one, add_ten, shared.serial, shared.parallel
print(json.dumps([add_one(0), add_ten(0), list(x), sum(sum(d.stats.cache_misses.values()) for d in dispatchers)]))
"""
    assert call(package, tmp_path / "cache", script, NUMBA_NUM_THREADS=2) == [1, 10, [9, 3], 4]
    assert call(package, tmp_path / "cache", script, NUMBA_NUM_THREADS=2) == [1, 10, [9, 3], 0]


def test_other_lanes_have_another_folder(package: Path, tmp_path: Path) -> None:
    script = "import json; from fastconv_kernels.cpu.cache import kernel_cache_folder as f; print(json.dumps(str(f())))"
    folders = {call(package, tmp_path, script, FASTCONV_LANES=lanes) for lanes in (16, 8, 4)}
    assert len(folders) == 3


def test_function_from_elsewhere_is_not_kept(package: Path, tmp_path: Path) -> None:
    (package / "elsewhere.py").write_text(INNER.replace("inlined", "serial"))
    script = "import json; from elsewhere import scaled; print(json.dumps(scaled(1)))"
    assert call(package, tmp_path / "cache", script) == 3
    assert not files(tmp_path / "cache")


def test_an_inner_function_is_for_compiled_code_alone(package: Path, tmp_path: Path) -> None:
    script = """
import json
from fastconv_kernels.sample.outer import outer, shared, scaled
outer(2.0)
try:
    scaled(2.0)
except TypeError as error:
    print(json.dumps(str(error)))
"""
    assert call(package, tmp_path / "cache", script) == "scaled: only compiled functions can call it"


def test_an_inner_function_is_loaded_for_another_caller(package: Path, tmp_path: Path) -> None:
    call(package, tmp_path / "cache")
    script = """
import json
import numpy as np
from fastconv_kernels.sample.outer import scaled, shared
x = np.ones(2)
shared(x, 1)
print(json.dumps([x.tolist(), sum(scaled.stats.cache_hits.values()), sum(scaled.stats.cache_misses.values())]))
"""
    assert call(package, tmp_path / "cache", script) == [[3.0, 1.0], 1, 0]


def test_nothing_is_compiled_after_warmup() -> None:
    script = """
import gc, json
import numpy as np
import fastconv as fc
from numba.core.dispatcher import Dispatcher
x = np.arange(128 * 28 * 28, dtype=np.float32).reshape(128, 1, 28, 28) % 5
model = fc.zoo.build("mnist-cnn")
model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
model.fit(x, np.arange(128) % 10, epochs=1, batch_size=128, verbose=0)
model.predict(x)
fc.conv2d(np.ones((4, 32, 20, 20), np.float32), np.ones((64, 32, 3, 3), np.float32), padding=1)
fc.matmul(np.ones((300, 200), np.float32), np.ones((200, 400), np.float32))
print(json.dumps([
    dispatcher.py_func.__qualname__ for dispatcher in gc.get_objects()
    if isinstance(dispatcher, Dispatcher) and dispatcher.py_func.__module__.startswith("fastconv")
    if dispatcher.stats.cache_misses
]))
"""
    processes.run("import fastconv; fastconv.warmup('mnist-cnn'); print(0)")  # the other tests' cache has most of it
    assert processes.run(script) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"models": "resnet"}, "models: expected"),
        ({"dtypes": ["int8"]}, "dtypes: expected"),
        ({"target": "tpu"}, "target: expected cpu or cuda"),
        ({"arch": "sm_80"}, "arch: expected None"),
        ({"target": "cuda", "precisions": "fp8"}, "precision: expected one of"),
    ],
)
def test_warmup_of_what_does_not_exist(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(fc.ArgumentError, match=f"^{message}"):
        fc.warmup(**arguments)
