"""What is known before anything is judged: the two files, their input and output, and the run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cake_onnx.report.parts import Amount, Count, FileName, Part, Positive, Sha256, Share


class Latency(Part):
    """Time of one onnxruntime call, measured over many."""

    provider: str
    """onnxruntime execution provider that ran it."""
    threads: Count
    """Threads of one operator; 0 leaves the number to onnxruntime."""
    batch: Positive
    """Samples in one call."""
    median_ms: Amount
    """Median time of a call, milliseconds."""
    p10_ms: Amount
    """10th percentile, milliseconds."""
    p90_ms: Amount
    """90th percentile, milliseconds."""
    n: Positive
    """Calls measured."""


class ModelFacts(Part):
    """One ONNX file, as found on disk."""

    file: FileName
    """File name without folder."""
    sha256: Sha256
    """SHA-256 of the file, hexadecimal."""
    bytes: Positive
    """Size of the file with its external data, bytes."""
    parameters: Count
    """Numbers stored as weights."""
    opset: Positive
    """Version of the default operator set."""
    operators: dict[str, int]
    """Operator type to how often it occurs."""
    quantised: bool = False
    """Whether it computes with rounded integers."""
    latency: tuple[Latency, ...] = ()
    """One entry per provider, thread count and batch size; empty when it was not measured."""


class LayerWidths(Part):
    """Layers that give equally many channels, or features, because their outputs meet."""

    layers: Annotated[tuple[str, ...], Field(min_length=1)]
    """Their names, in the order of the graph: those of weights or nodes in the teacher's file."""
    teacher: Positive
    """Channels in the teacher."""
    student: Positive
    """Channels in the student."""


class StudentFacts(ModelFacts):
    """The smaller model, and why it looks as it does."""

    family: str
    """Kind of student: `like-teacher`, `mlp`, `cnn`, `resnet`, `vit`, or where it came from."""
    chosen_because: str
    """One clause telling why this family and size."""
    widths: tuple[LayerWidths, ...] | None = None
    """How wide the layers are beside the teacher's; null where the student is not the teacher grown down."""


class InputFacts(Part):
    """The one input both models take."""

    name: str
    """Name in the graph."""
    shape: tuple[Positive, ...]
    """One sample without the batch axis."""
    dtype: str
    """numpy name of the element type."""
    layout: Literal["NCHW", "NHWC", "flat"]
    """Order of the axes of an image, or `flat`."""
    low: tuple[float, ...]
    """Lowest value: one number, or one per feature."""
    high: tuple[float, ...]
    """Highest value, as long as `low`."""
    bounds_source: str
    """Who said so."""
    bounds_assumed: bool
    """True where nobody did."""


class OutputFacts(Part):
    """What both models say."""

    names: tuple[str, ...]
    """Names of the graph outputs, in order."""
    kind: Literal["logits", "probabilities", "label+probabilities"]
    """What the scores are."""
    classes: Annotated[int, Field(ge=2)]
    """Number of classes K."""
    class_names: tuple[str, ...] | None = None
    """K names where the teacher tells them."""


class ParityFacts(Part):
    """How far a model in torch and the same model in onnxruntime lie apart."""

    max_abs_diff: Amount
    """Largest absolute difference of any score."""
    tolerance: Amount
    """Largest difference allowed, in the same unit."""
    top1_agreement: Share
    """Share of samples with the same winning class."""
    n: Positive
    """Samples compared."""
    quantised: bool = False
    """True when the exported file holds integer weights, for which the tolerance does not decide."""


class Seconds(Part):
    """Wall-clock time."""

    total: Amount
    """From start to end, seconds."""
    stages: dict[str, Amount]
    """Stage to seconds, in the order they ran."""


class Machine(Part):
    """Where it ran."""

    processor: str
    """Name of the processor."""
    cores: Positive
    """Cores this process may use."""


class RunFacts(Part):
    """What was run, with what, where."""

    method: Literal["rounds", "paper"] | None
    """Method of the compression; null when two models were only compared."""
    rounds: Count
    """Rounds done (sets, for `paper`)."""
    passes: Amount
    """Teacher passes; one is forward and input gradient of one sample, forward alone counts half."""
    seconds: Seconds
    seed: int
    device: str
    """Where torch worked."""
    ranks: Positive = 1
    """Processes that shared the work."""
    student_file_sha256: Sha256 | None = None
    """Of the FILE.onnx that the student was made from; null for any other student."""
    own_prior: str | None = None
    """`package.module:factory` that drew what samples start from; null where the teacher alone was used."""
    threads: Count
    """Threads torch used."""
    versions: dict[str, str]
    """Versions of torch, onnx, onnxruntime and python."""
    machine: Machine
