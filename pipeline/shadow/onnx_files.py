"""A challenger that is no glass box: a folder with an ONNX model, which is data, and what is said of it.

    <version>/model.onnx        the model: standard operators over one matrix of float32, and nothing beside it
    <version>/challenger.json   SHA-256 of the model, its features, what it was made of; canonical
    <version>/model.sig         a signature over both, which models/versions verifies; it may be missing here

Invariants
1. Loading verifies everything and returns a challenger, or raises ModelRefused with one sentence.
2. Nothing that stands elsewhere is read, and no code is loaded: no external data, no operators but those of ONNX and
   ONNX-ML, no functions of the model's own, and no control flow, so that a run ends.
3. It runs in one thread. Its floats may differ in the last digits between machines and releases of the runtime; they
   decide nothing.
4. A run ends: once it has taken RUN_S_MAX no further operator begins, and tensors take no more than MEMORY_BYTES_MAX,
   whatever the file asks for. Nothing is drawn by chance.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from models.artefact.files import FORBIDDEN_FEATURES, SIGNATURE
from models.artefact.plain_files import read_plain
from models.artefact.strict import Json, ModelRefused, array, canonical, mapping, parsed, refuse
from models.versions.registry_files import CHALLENGER_BYTES_MAX, CHALLENGER_MANIFEST
from models.versions.signature_files import SIGNATURE_BYTES_MAX
from pipeline.domain.features import COLUMN
from pipeline.shadow.challenger import Statistical, TookTooLong

if TYPE_CHECKING:
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]

FORMAT: Final = 1
MODEL: Final = "model.onnx"
MANIFEST: Final = CHALLENGER_MANIFEST
MODEL_BYTES_MAX: Final = CHALLENGER_BYTES_MAX
FILES: Final = frozenset({MODEL, MANIFEST, SIGNATURE})
MANIFEST_BYTES_MAX: Final = 256 * 1024
_BYTES_MAX: Final = MappingProxyType(
    {MODEL: MODEL_BYTES_MAX, MANIFEST: MANIFEST_BYTES_MAX, SIGNATURE: SIGNATURE_BYTES_MAX}
)
NODES_MAX: Final = 2_000
"""Most operators; what skl2onnx makes of a pipeline has some dozens."""
RUN_S_MAX: Final = 10.0
"""Longest run over the payments of a batch, of which there are up to 1,000. A file of 9 MB can ask for minutes."""
MEMORY_BYTES_MAX: Final = 1024 * 1024 * 1024
"""Most memory that the runtime takes for tensors of all models of a process. A file of 1 KB can ask for terabytes."""
RANDOM: Final = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Dropout"}
)
"""Operators that draw by chance: the same payment would get another answer each time."""
DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml"})
INPUT: Final = "features"
OUTPUT: Final = "probabilities"
NEEDS: Final = "an ONNX challenger needs onnxruntime and onnx: `pip install '.[onnx]'`"
VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,31}", re.ASCII)
_KEYS: Final = {"format", "version", "model_sha256", "features", "made_of"}


class OnnxMissing(Exception):
    """The libraries of ONNX are not installed; the message is a sentence."""


def load_onnx(directory: Path) -> Statistical:
    """Load and verify a challenger. Raises ModelRefused, OnnxMissing."""
    try:
        return load_onnx_contents(directory.name, read_onnx(directory))
    except ModelRefused as refusal:
        raise ModelRefused(f"challenger '{directory.name}' is refused: {refusal}") from refusal


def load_onnx_contents(version: str, contents: Mapping[str, bytes]) -> Statistical:
    """Verify files that were read, and load what they are. Raises ModelRefused, OnnxMissing."""
    if not VERSION.fullmatch(version):
        refuse("the directory's name is not a version (letters, digits, dots, hyphens)")
    content, manifest = contents.get(MODEL, b""), contents.get(MANIFEST, b"")
    said = mapping(parsed(manifest, MANIFEST), MANIFEST, _KEYS)
    if type(said["format"]) is not int or (said["format"], said["version"]) != (FORMAT, version):
        refuse("its manifest is of another format or version")
    if hashlib.sha256(content).hexdigest() != said["model_sha256"]:
        refuse(f"the SHA-256 of '{MODEL}' is not the manifest's")
    features = _features(said["features"])
    session = checked_session(content, len(features))
    return Statistical(version, hashlib.sha256(manifest).digest(), features, _Probabilities(session))


def write_onnx(directory: Path, content: bytes, features: tuple[str, ...], made_of: dict[str, Json]) -> None:
    """Write a challenger, its manifest last. Raises FileExistsError where the version exists."""
    directory.mkdir(parents=True)
    (directory / MODEL).write_bytes(content)
    manifest: Json = {
        "format": FORMAT,
        "version": directory.name,
        "model_sha256": hashlib.sha256(content).hexdigest(),
        "features": list(features),
        "made_of": made_of,
    }
    (directory / MANIFEST).write_bytes(canonical(manifest))


def checked_session(content: bytes, feature_count: int) -> InferenceSession:
    """A session of a model that was looked through. Raises ModelRefused, OnnxMissing."""
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise OnnxMissing(NEEDS) from error
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's own classes, which say nothing to whoever put the file there
        raise ModelRefused(f"'{MODEL}' is no ONNX model") from error
    _look_through(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    # Whatever optimising computes beforehand has no deadline; the operators of an estimator are few as they are.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    _bound_memory()
    options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own classes
        raise ModelRefused(f"'{MODEL}' can't be run by this release of onnxruntime") from error
    inputs, outputs = session.get_inputs(), [each.name for each in session.get_outputs()]
    if [each.name for each in inputs] != [INPUT] or inputs[0].type != "tensor(float)":
        refuse(f"its one input is not '{INPUT}', of float32")
    if len(inputs[0].shape) != 2 or inputs[0].shape[1] != feature_count:
        refuse(f"its input has not {feature_count} columns")
    if OUTPUT not in outputs:
        refuse(f"it has no output '{OUTPUT}'")
    return session


@cache
def _bound_memory() -> None:
    """Give all sessions of the process, which ask for it, one arena that doesn't grow beyond MEMORY_BYTES_MAX."""
    import onnxruntime

    where = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    as_requested, default = 1, -1
    bounds = {
        "max_mem": MEMORY_BYTES_MAX,
        "arena_extend_strategy": as_requested,
        "initial_chunk_size_bytes": default,
        "max_dead_bytes_per_chunk": default,
    }
    onnxruntime.create_and_register_allocator(where, onnxruntime.OrtArenaCfg(bounds))


class _Probabilities:
    """The probability of fraud: the second of each row's two."""

    def __init__(self, session: InferenceSession) -> None:
        self._session = session

    def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Raises TookTooLong after RUN_S_MAX, and the runtime's own classes."""
        import onnxruntime

        options, is_late = onnxruntime.RunOptions(), threading.Event()

        def end() -> None:
            is_late.set()
            options.terminate = True

        timer = threading.Timer(RUN_S_MAX, end)
        timer.daemon = True
        timer.start()
        try:
            (given,) = self._session.run([OUTPUT], {INPUT: rows}, options)
        except Exception as error:  # the runtime's own classes
            if is_late.is_set():
                raise TookTooLong from error
            raise
        finally:
            timer.cancel()
        pairs: NDArray[np.float32] = np.asarray(given, dtype=np.float32)
        return pairs[:, 1] if pairs.ndim == 2 and pairs.shape[1] == 2 else np.full(0, np.nan, dtype=np.float32)


def read_onnx(directory: Path) -> dict[str, bytes]:
    """Return a challenger's files, read once: what is verified is what is loaded. Raises ModelRefused."""
    try:
        names = {entry.name for entry in directory.iterdir()}
        if strangers := sorted(names - FILES):
            refuse(f"it holds the unexpected file '{strangers[0]}'")
        if any((directory / name).is_symlink() for name in names):
            refuse("one of its files is a link")
        contents = {name: read_plain(directory / name, _BYTES_MAX[name]) for name in sorted(names | {MODEL, MANIFEST})}
    except OSError as error:
        raise ModelRefused(f"its files can't be read ({error.strerror})") from error
    if any(len(content) > _BYTES_MAX[name] for name, content in contents.items()):
        refuse("a file of it is too large")
    return contents


def _features(value: Json) -> tuple[str, ...]:
    names = tuple(str(name) for name in array(value, "features"))
    if not names or len(set(names)) < len(names):
        refuse("its feature list is empty or names a feature twice")
    if unknown := [name for name in names if name not in COLUMN]:
        refuse(f"it wants the unknown feature '{unknown[0][:60]}'")
    if guarded := sorted(FORBIDDEN_FEATURES.intersection(names)):
        refuse(f"only guardrails may use '{guarded[0]}'")
    return names


def _look_through(model: Any) -> None:
    """Raises ModelRefused for whatever is more than standard operators in a row."""
    if model.functions:
        refuse("it brings functions of its own")
    if foreign := sorted({each.domain for each in model.opset_import} - DOMAINS):
        refuse(f"it needs operators of the domain '{foreign[0][:60]}'")
    graph = model.graph
    if len(graph.node) > NODES_MAX:
        refuse(f"it has over {NODES_MAX} operators")
    if graph.sparse_initializer:
        refuse("it holds sparse tensors")
    for tensor in graph.initializer:
        _look_at_tensor(tensor)
    for node in graph.node:
        _look_at_node(node)


def _look_at_node(node: Any) -> None:
    if node.domain not in DOMAINS:
        refuse(f"it uses an operator of the domain '{node.domain[:60]}'")
    if node.op_type in RANDOM:
        refuse(f"its operator {node.op_type} draws by chance")
    for attribute in node.attribute:
        if attribute.HasField("g") or attribute.graphs:
            refuse(f"its operator {node.op_type[:40]} holds another graph")
        if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
            refuse("it holds sparse tensors")
        for tensor in (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors):
            _look_at_tensor(tensor)


def _look_at_tensor(tensor: Any) -> None:
    if tensor.external_data or tensor.data_location != 0:
        refuse("a part of it stands in another file")
