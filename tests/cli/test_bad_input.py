"""Everything wrong a newcomer can hand over: one or two lines, the right exit code, nothing written."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cake_onnx.cli.main import run
from tests.cli.bad_files import make_bad_files
from tests.cli.conftest import Shell

#: Line of words, exit code, and what stderr must say: expected, found, remedy.
CASES = [
    # the command line
    ("--foo", 2, "an option of `cake-onnx`; found --foo. `cake-onnx --help`"),
    ("compres good.onnx", 2, "compress, inspect.*found `compres`. Write `compress`"),
    ("good.onnx", 2, "found `good.onnx`. For example: cake-onnx compress good.onnx"),
    ("compress", 2, "MODEL after `cake-onnx compress`; found nothing. For example"),
    ("compress good.onnx --compresion 4", 2, "found --compresion. Write --compression"),
    ("compress good.onnx --zzz", 2, "found --zzz. `cake-onnx compress --help`"),
    ("compress good.onnx more.onnx", 2, r"found unexpected extra argument \(more.onnx\). .*--help"),
    ("compress good.onnx --seed", 2, "a value after --seed; found none. .*--help"),
    ("inspect good.onnx --seed 3", 2, "an option of `cake-onnx inspect`; found --seed"),
    ("validate good.onnx", 2, "STUDENT after `cake-onnx validate`; found nothing"),
    # the model
    ("compress nowhere.onnx", 2, "an ONNX model file; found no file nowhere.onnx. Check the path"),
    ("compress folder", 2, "an ONNX model file; found a folder, folder. Give the .onnx file"),
    ("compress empty.onnx", 3, "found an empty file, empty.onnx. Download or export"),
    ("compress truncated.onnx", 3, "bytes in truncated.onnx .*cut short.*xport the model again"),
    ("compress random.onnx", 3, "bytes in random.onnx .*damaged.*xport the model again"),
    ("compress text.onnx", 3, "found a text file, text.onnx. Give the binary .onnx file"),
    ("compress pickle.onnx", 3, "found a Python pickle: pickle.onnx. Export the model to ONNX"),
    ("compress two_inputs.onnx", 3, r"one data input; found 2: 'a' \(float32\), 'b' \(float32\). Export"),
    ("compress tokens.onnx", 3, "a float input.*found input 'tokens' of int64.*Distil"),
    ("compress words.onnx", 3, r"floating-point or integer numbers; found 'words' \(string\). Export"),
    ("compress regression.onnx", 3, "at least two classes.*found output 'y'.*regression. Use a classifier"),
    ("compress one_class.onnx", 3, "at least two classes.*found output 'y' with one class.*Use a classifier"),
    ("compress no_rank.onnx", 3, "an input of known rank; found 'x' without any shape. Export"),
    ("compress zero_size.onnx", 3, r"axes of size 1 or more; found 'x' of shape \[batch, 0\]. Export"),
    ("compress unknown_operator.onnx", 3, "found .*Frobnicate"),
    ("compress forest.onnx", 3, "found TreeEnsembleClassifier .*a tree is flat.*"),
    ("compress nan_weights.onnx", 3, "found .*NaN"),
    ("compress no_data.onnx", 3, "external data file 'weights.bin'.*found no such file. Copy it there"),
    ("inspect text.onnx", 3, "found a text file"),
    ("synthesize text.onnx", 3, "found a text file"),
    ("validate good.onnx text.onnx", 3, "found a text file"),
    ("validate text.onnx good.onnx", 3, "found a text file"),
    ("validate good.onnx digits.onnx", 2, "two classifiers alike: good.onnx.*in digits.onnx. Give"),
    # options
    ("compress good.onnx --compression 0.5", 2, "greater than or equal to 1.*found `0.5`. --compr"),
    ("compress good.onnx --compression big", 2, "a valid number.*found `big`. --compression means"),
    ("compress good.onnx --compression inf", 2, "found `inf`. --compression means"),
    ("compress good.onnx --compression 9999", 2, "Ask for 7 parameters, which is `--compression"),
    ("compress good.onnx --student cnn9", 2, "'mlp', 'cnn', 'resnet', 'vit', a FILE.*found `cnn9`"),
    ("compress good.onnx --student cnn", 2, r"--student cnn can take; found .*\(2,\).* Use --student mlp"),
    ("compress good.onnx --method cake", 2, "'rounds' or 'paper'.*found `cake`"),
    ("compress good.onnx --budget huge", 2, "'small', 'medium' or 'large'.*found `huge`"),
    ("compress good.onnx --rounds 0", 2, "greater than or equal to 1.*found `0`"),
    ("compress good.onnx --rounds 2 --max-minutes 1", 2, "--rounds and --max-minutes.*exclude.*Give one"),
    ("compress good.onnx --rounds 2 --budget small", 2, "--rounds and --budget.*exclude.*Give one"),
    ("compress good.onnx --max-minutes -1", 2, "greater than 0.*found `-1`"),
    ("compress good.onnx --max-minutes 1 --method paper", 2, "--max-minutes needs --method rounds"),
    ("compress good.onnx --langevin", 2, "--langevin needs --method paper"),
    ("compress good.onnx --input-range 1", 2, "two numbers.*found `1`. --input-range means"),
    ("compress good.onnx --input-range 1,2,3", 2, "two numbers.*found `1,2,3`"),
    ("compress good.onnx --input-range a,b", 2, "a valid number.*found `a,b`"),
    ("compress good.onnx --input-range 1,0", 2, "first number of --input-range must be the smaller"),
    ("compress good.onnx --input-range 0,nan", 2, "finite number.*found `0,nan`"),
    ("compress good.onnx --mean 0.5", 2, "--mean and --std go together"),
    ("compress good.onnx --std 0.5", 2, "--mean and --std go together"),
    ("compress good.onnx --mean 0.5 --std 0.5,1", 2, "the same number of values"),
    ("compress good.onnx --mean 0.5 --std 0", 2, "greater than 0.*found `0`"),
    ("compress good.onnx --mean 1,2,3 --std 1,2,3", 2, "one number or 2 for --mean and --std; found 3"),
    ("compress good.onnx --mean 0 --std 1 --input-range 0,1", 2, "--mean and --input-range.*Give one"),
    ("compress good.onnx --prior normal", 2, "'image', 'series', 'gaussian'.*found `normal`"),
    ("compress good.onnx --prior image", 2, r"--prior image.*found .* shape \[2\]. Use `--prior tabular`"),
    ("compress good.onnx --min-agreement 97", 2, "less than or equal to 1.*found `97`.*0.97 or 97%"),
    ("compress good.onnx --min-agreement lots", 2, "a valid number.*found `lots`"),
    ("compress good.onnx --seed -1", 2, "greater than or equal to 0.*found `-1`"),
    ("compress good.onnx --seed x", 2, "a valid integer.*found `x`"),
    ("compress good.onnx --device tpu", 2, "found `tpu`.*auto, cpu, cuda or cuda:N"),
    ("compress good.onnx --device cuda:9", 2, "a GPU for `--device cuda:9`; found .* Use `--device auto`"),
    ("synthesize good.onnx -n 0", 2, "'-n' / '--samples'; found 0 is not in the range.*--help"),
    ("synthesize good.onnx -o samples.csv", 2, ".npz or .safetensors.*found `samples.csv`. Rename"),
    ("synthesize good.onnx -o good.npz", 2, "a new file.*found a file at good.npz. .*--overwrite"),
    # --eval
    ("compress good.onnx --eval nowhere.npz", 2, "for `--eval`; found no file nowhere.npz. Check the path"),
    ("compress good.onnx --eval folder", 2, "for `--eval`; found a folder, folder"),
    ("compress good.onnx --eval text.onnx", 2, r"for `--eval`; found text.onnx.*np.savez"),
    ("compress good.onnx --eval single.npy", 2, "for `--eval`; found single.npy.*np.savez"),
    ("compress good.onnx --eval no_x.npz", 2, "an array `x` in no_x.npz; found images.*np.savez"),
    ("compress good.onnx --eval narrow.npz", 2, r"`x` of shape \(N, 2\).*found shape \(6, 3\)"),
    ("compress good.onnx --eval words.npz", 2, "with numbers in words.npz; found .*<U1"),
    ("compress good.onnx --eval objects.npz", 2, "for `--eval`; found objects.npz"),
    ("compress good.onnx --eval nan.npz", 2, "finite numbers.*found NaN"),
    ("compress good.onnx --eval class_9.npz", 2, "6 class indices from 0 to 1.*found .*9 to 9"),
    ("compress good.onnx --eval five_labels.npz", 2, r"6 class indices.*found shape \(5,\)"),
    ("validate good.onnx good.onnx --eval nowhere.npz", 2, "for `--eval`; found no file"),
    # --config
    ("compress good.onnx --config nowhere.toml", 2, "for `--config`; found no file nowhere.toml. Check"),
    ("compress good.onnx --config folder", 2, "for `--config`; found a folder, folder"),
    ("compress good.onnx --config binary.toml", 2, "for `--config`; found binary.toml"),
    ("compress good.onnx --config broken.toml", 2, "for `--config`; found broken.toml.*line 1"),
    ("compress good.onnx --config near.toml", 2, "keys in near.toml; found `compresion`. Write `compress"),
    ("compress good.onnx --config far.toml", 2, "keys in far.toml; found `zzz`. Use one of student, stu"),
    ("compress good.onnx --config type.toml", 2, "`compression` in type.toml.*a valid number.*found `big`"),
    ("compress good.onnx --config nested.toml", 2, "`seed` in nested.toml.*a valid integer"),
    ("compress good.onnx --config fraction.toml", 2, "`rounds` in fraction.toml.*found `2.5`"),
    ("compress good.onnx --config half.toml", 2, "--mean and --std go together"),
    # -o
    ("compress good.onnx -o text.onnx", 2, "a folder for the output; found a file at text.onnx. Choose"),
    ("compress good.onnx -o text.onnx/new", 2, "can be written for `-o`; found a file at .*text.onnx"),
    ("compress good.onnx -o /proc/new/deep", 2, "can be written for `-o`; found /proc/new: .*Choose another"),
    ("synthesize good.onnx -o text.onnx/new.npz", 2, "can be written for `-o`; found a file"),
    ("compress good.onnx -o busy", 2, "the finished run in busy; found .*rounds was 2 and is [0-9]+"),
    ("compress good.onnx -o strange", 2, "found model.onnx in strange, which .*`--overwrite`"),
    ("compress good.onnx -o taken", 2, "taken/work to be free.*Choose another folder"),
    ("compress own/model.onnx -o own --overwrite", 2, "nothing replaces the teacher; found the teach"),
    ("compress good.onnx --dry-run -o busy", 2, "same options as in the finished run in busy"),
]  # fmt: skip


@pytest.fixture(scope="module")
def bad_folder(
    fixtures: Path, compressed: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    make_bad_files(folder, fixtures / "moons_mlp.onnx")
    (folder / "digits.onnx").write_bytes((fixtures / "digits_cnn.onnx").read_bytes())
    (folder / "busy").mkdir()
    for file in compressed("moons_mlp").iterdir():
        (folder / "busy" / file.name).write_bytes(file.read_bytes())
    for place in ("own/model.onnx", "strange/model.onnx", "taken/work/notes.txt"):
        (folder / place).parent.mkdir(parents=True)
        (folder / place).write_bytes((fixtures / "moons_mlp.onnx").read_bytes())
    return folder


@pytest.mark.parametrize(("line", "code", "told"), CASES, ids=[line for line, _, _ in CASES])
def test_bad_input_is_answered_in_two_lines_and_nothing_is_written(
    line: str,
    code: int,
    told: str,
    bad_folder: Path,
    listing: Callable[[Path], dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(bad_folder)
    before = listing(bad_folder)
    assert run(line.split()) == code
    out, err = capsys.readouterr()
    assert re.search(told, err), err
    assert out == ""
    lines = err.rstrip("\n").split("\n")
    assert len(lines) <= 2
    assert re.match(r"cake-onnx: expected \S.*; found \S.*\. \S.*\.$", lines[-1]), lines[-1]
    assert "Traceback" not in err
    assert listing(bad_folder) == before


def test_a_bad_value_in_the_environment_is_named_by_its_variable(
    bad_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(bad_folder)
    monkeypatch.setenv("CAKE_ONNX_SEED", "many")
    assert run(["compress", "good.onnx"]) == 2
    assert "for `CAKE_ONNX_SEED` (it should be a valid integer" in capsys.readouterr().err


def test_as_a_module_it_answers_the_same(shell: Shell, bad_folder: Path) -> None:
    with shell("compress", "text.onnx", cwd=bad_folder) as process:
        out, err = process.communicate()
    assert (process.returncode, out) == (3, "")
    assert err.startswith("cake-onnx: expected an ONNX model file; found a text file, text.onnx. Give the")
    assert err.count("\n") == 1
