from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cake_onnx.config import ROUNDS, Config, flag_of, parse_config, read_toml, to_toml
from cake_onnx.errors import UsageError

finite = st.floats(-1e6, 1e6)
positive = st.floats(1e-6, 1e6)


@st.composite
def valid_values(draw: st.DrawFn) -> dict[str, Any]:
    """Values of options that agree, as Python objects; any option may be left out."""
    method = draw(st.sampled_from(["rounds", "paper"]))
    values: dict[str, Any] = {"method": method}
    plain: dict[str, st.SearchStrategy[Any]] = {
        "student": st.sampled_from(["auto", "mlp", "cnn", "resnet", "vit"]),
        "compression": st.floats(1, 10_000),
        "budget": st.sampled_from(["small", "medium", "large"]),
        "prior": st.sampled_from(["auto", "image", "series", "gaussian", "uniform", "tabular", "mine:prior"]),
        "eval": st.text("abz ./é\"'\\", min_size=1).map(Path),
        "min_agreement": st.floats(0, 1),
        "device": st.sampled_from(["auto", "cpu", "cuda", "cuda:11"]),
        "seed": st.integers(0, 2**63 - 1),
    }
    for name, strategy in plain.items():
        if draw(st.booleans()):
            values[name] = draw(strategy)
    length = draw(st.sampled_from(["rounds", "max_minutes", None]))
    if length == "rounds":
        values["rounds"] = draw(st.integers(1, 10**6))
    elif length == "max_minutes" and method == "rounds":
        values["max_minutes"] = draw(positive)
    if method == "paper":
        values["langevin"] = draw(st.booleans())
    bounds = draw(st.sampled_from(["range", "normalised", None]))
    if bounds == "range":
        low = draw(finite)
        values["input_range"] = (low, low + draw(st.floats(1, 1e6)))
    elif bounds == "normalised":
        channels = draw(st.integers(1, 5))
        values["mean"] = tuple(draw(finite) for _ in range(channels))
        values["std"] = tuple(draw(positive) for _ in range(channels))
    return values


@pytest.mark.parametrize("text", ["4x", "4", "4X", " 4x ", "4.0", 4, 4.0])
def test_compression_is_read_as_people_write_it(text: object) -> None:
    assert parse_config({"compression": text}).compression == 4


@pytest.mark.parametrize("text", ["97%", " 97 %", "97.0%", "0.97", 0.97])
def test_a_share_is_read_as_people_write_it(text: object) -> None:
    assert parse_config({"min_agreement": text}).min_agreement == pytest.approx(0.97)


@pytest.mark.parametrize("text", ["0,255", " 0 , 255 ", [0, 255], (0.0, 255.0), "0,2.55e2"])
def test_a_range_is_read_as_people_write_it(text: object) -> None:
    assert parse_config({"input_range": text}).input_range == (0, 255)


def test_one_channel_needs_no_comma() -> None:
    config = parse_config({"mean": "0.13", "std": 0.3})
    assert (config.mean, config.std) == ((0.13,), (0.3,))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("compression", "0.5x"),
        ("compression", "x"),
        ("compression", "nan"),
        ("compression", "inf"),
        ("compression", "99999x"),
        ("student", "transformer"),
        ("method", "papers"),
        ("budget", "huge"),
        ("rounds", 0),
        ("rounds", "many"),
        ("rounds", 1.5),
        ("max_minutes", 0),
        ("max_minutes", "inf"),
        ("langevin", "perhaps"),
        ("input_range", "0"),
        ("input_range", "0,1,2"),
        ("input_range", "a,b"),
        ("input_range", "0,nan"),
        ("input_range", "-inf,inf"),
        ("mean", "0.1,"),
        ("std", "0"),
        ("std", "-1"),
        ("prior", "noise"),
        ("min_agreement", "101%"),
        ("min_agreement", "97"),
        ("min_agreement", "1.2.3%"),
        ("min_agreement", "-0.1"),
        ("device", "gpu"),
        ("device", "cuda:"),
        ("device", "cuda:-1"),
        ("seed", -1),
        ("seed", 2**63),
        ("seed", "x"),
    ],
)
def test_a_bad_value_names_the_flag_the_value_and_the_meaning(name: str, value: object) -> None:
    with pytest.raises(UsageError) as caught:
        parse_config({name: value})
    text = str(caught.value)
    assert flag_of(name) in caught.value.expected
    assert caught.value.found == f"`{value}`", "what was written, not how far it was read"
    assert str(Config.model_fields[name].description).rstrip(".") in text
    assert "\n" not in text
    assert "value error" not in text.lower()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mean": "0.5"}, "--mean and --std go together"),
        ({"std": "0.5"}, "--mean and --std go together"),
        ({"mean": "0.5,0.5", "std": "0.2"}, "same number of values"),
        ({"mean": "0.5", "std": "0.2", "input_range": "0,1"}, "the same thing twice"),
        ({"input_range": "1,0"}, "must be the smaller one"),
        ({"input_range": "1,1"}, "must be the smaller one"),
        ({"rounds": 3, "max_minutes": 1}, "--rounds and --max-minutes"),
        ({"max_minutes": 1, "method": "paper"}, "--max-minutes needs --method rounds"),
        ({"langevin": True}, "--langevin needs --method paper"),
        ({"langevin": "true", "method": "rounds"}, "--langevin needs --method paper"),
    ],
)
def test_options_that_contradict_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        parse_config(values)


@pytest.mark.parametrize(
    ("key", "nearest"),
    [("compresion", "compression"), ("max-minutes", "max_minutes"), ("evaluate", "eval"), ("Seed", "seed")],
)
def test_an_unknown_key_names_the_nearest(key: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=f"known keys in my.toml; found `{key}`. Write `{nearest}`"):
        parse_config({key: 1}, origin="my.toml")


def test_a_key_like_no_other_names_them_all() -> None:
    with pytest.raises(UsageError) as caught:
        parse_config({"qqqq": 1})
    assert all(name in caught.value.remedy for name in Config.model_fields)


@given(valid_values())
def test_a_written_configuration_is_read_again_as_it_was(values: dict[str, Any]) -> None:
    config = parse_config(values)
    assert parse_config(as_read(to_toml(config))) == config


def as_read(text: str) -> dict[str, Any]:
    """What `read_toml` makes of a file with this text."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.toml"
        path.write_text(text, encoding="utf-8")
        return read_toml(path)


@given(valid_values())
def test_the_written_text_is_the_same_each_time(values: dict[str, Any]) -> None:
    config = parse_config(values)
    assert to_toml(parse_config(as_read(to_toml(config)))) == to_toml(config)


@pytest.mark.parametrize("content", [b"seed = ", b"\xff\xfe\x00", b"[a\n"])
def test_a_broken_file_is_told_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"TOML file for `--config`; found mine.toml"):
        read_toml(path)


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no file absent.toml"):
        read_toml(tmp_path / "absent.toml")
    with pytest.raises(UsageError, match=r"a folder.*Give a file inside it"):
        read_toml(tmp_path)


def test_a_table_in_the_file_is_no_option(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[student]\nfamily = 'mlp'\n")
    with pytest.raises(UsageError, match="--student"):
        parse_config(read_toml(path))


@pytest.mark.parametrize("name", Config.model_fields)
def test_every_option_is_described_in_one_sentence_or_two(name: str) -> None:
    description = Config.model_fields[name].description
    assert description
    assert description.endswith(".")
    assert len(description) < 100


def test_defaults_are_valid_and_frozen() -> None:
    config = parse_config({})
    assert config == Config()
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize("method", ["rounds", "paper"])
@pytest.mark.parametrize("budget", ["small", "medium", "large"])
def test_a_budget_is_a_number_of_rounds(method: str, budget: Any) -> None:
    config = parse_config({"method": method, "budget": budget})
    assert config.planned_rounds == ROUNDS[method][budget]
    assert parse_config({"method": method, "budget": budget, "rounds": 7}).planned_rounds == 7


def test_the_help_of_budget_tells_the_true_numbers() -> None:
    numbers = {n for budgets in ROUNDS.values() for n in budgets.values()}
    told = {int(n) for n in re.findall(r"\d+", str(Config.model_fields["budget"].description))}
    assert numbers == told
    assert ROUNDS["paper"]["large"] == 512
