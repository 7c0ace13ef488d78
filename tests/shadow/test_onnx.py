"""Challengers as ONNX: what is taken, what is refused, and that a fitted estimator answers as it did."""

from __future__ import annotations

import builtins
import os
import time
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.artefact.strict import ModelRefused, canonical
from models.challengers.learn_files import columns, learn, write_learned
from models.simulator import TrafficSettings
from models.train.history import HistoryRefused, generated
from models.versions.alias_files import move_alias
from models.versions.locations import Alias
from pipeline.io.settings import Profile
from pipeline.keys.key_sets import KeySet, key_set_text
from pipeline.publish.payment_files import NO_MAP
from pipeline.shadow import onnx_files
from pipeline.shadow.challenger_files import NoChallenger, load_challenger
from pipeline.shadow.comparing import compare
from pipeline.shadow.onnx_files import (
    INPUT,
    MANIFEST,
    MODEL,
    MODEL_BYTES_MAX,
    NODES_MAX,
    OUTPUT,
    OnnxMissing,
    load_onnx,
    write_onnx,
)
from tests.archive import Archive
from tests.models.train import histories
from tests.models.versions.given import VERSION, keys_of, models_key, shipped_registry
from tests.shadow.given import placed

FEATURES = ("amount_gbp_minor", "ip_fraud_reports")


def model_of(nodes, *, columns=2, initializers=(), opsets=(("", 17),), functions=(), output=OUTPUT) -> bytes:
    graph = helper.make_graph(
        nodes,
        "challenger",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, columns])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [None, 2])],
        list(initializers),
    )
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid(*each) for each in opsets], functions=list(functions)
    )
    made.ir_version = 8
    return made.SerializeToString()


def softmax() -> list[onnx.NodeProto]:
    return [helper.make_node("Softmax", [INPUT], [OUTPUT], axis=1)]


def written(folder: Path, content: bytes, version: str = "net-1") -> Path:
    write_onnx(folder / version, content, FEATURES, {})
    return folder / version


def refusal(directory: Path) -> str:
    with pytest.raises(ModelRefused) as found:
        load_onnx(directory)
    return str(found.value)


def test_a_plain_model_is_taken_and_answers(tmp_path: Path, archive: Archive) -> None:
    challenger = load_onnx(written(tmp_path, model_of(softmax())))
    assert ("net-1", "ONNX", frozenset(FEATURES)) == (challenger.version, challenger.kind, challenger.features)
    [answer] = compare(placed(archive, [1_000]), challenger, archive.regime_of)
    assert (0, "COMPARED") == (answer.challenger_probability_ppm, answer.standing)  # e^0 of e^1000


def test_no_byte_of_it_can_change_unseen(tmp_path: Path) -> None:
    directory = written(tmp_path, model_of(softmax()))
    for name in (MODEL, MANIFEST):
        content = (directory / name).read_bytes()
        for place in range(0, len(content), 7):
            (directory / name).write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            if name == MODEL:
                refusal(directory)
            else:
                _refused_or_another(directory, content)
        (directory / name).write_bytes(content)
    load_onnx(directory)


def _refused_or_another(directory: Path, manifest: bytes) -> None:
    """What is said of it may differ and be read; then it is another challenger, by its digest."""
    (original := directory / "original").write_bytes(manifest)
    original.unlink()
    try:
        found = load_onnx(directory)
    except ModelRefused:
        return
    (changed := directory / MANIFEST).read_bytes()
    before = changed.read_bytes()
    changed.write_bytes(manifest)
    assert load_onnx(directory).digest != found.digest
    changed.write_bytes(before)


def external() -> bytes:
    tensor = numpy_helper.from_array(np.ones((2, 2), dtype=np.float32), "weights")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")
    nodes = [helper.make_node("MatMul", [INPUT, "weights"], ["x"]), helper.make_node("Softmax", ["x"], [OUTPUT])]
    return model_of(nodes, initializers=[tensor])


def looping() -> bytes:
    body = helper.make_graph([], "body", [], [])
    return model_of([helper.make_node("Loop", ["", "", INPUT], [OUTPUT], body=body)])


def function() -> bytes:
    own = helper.make_function(
        "", "Own", ["a"], ["b"], [helper.make_node("Softmax", ["a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    return model_of(softmax(), functions=[own])


HOSTILE = {
    "data in another file": (external, "stands in another file"),
    "a loop": (looping, "holds another graph"),
    "a function of its own": (function, "functions of its own"),
    "operators of others": (
        lambda: model_of(
            [helper.make_node("PyOp", [INPUT], [OUTPUT], domain="com.evil")], opsets=(("", 17), ("com.evil", 1))
        ),
        "com.evil",
    ),
    "an operator's domain that is not declared": (
        lambda: model_of([helper.make_node("PyOp", [INPUT], [OUTPUT], domain="com.evil")]),
        "com.evil",
    ),
    "an operator that draws by chance": (
        lambda: model_of(
            [helper.make_node("RandomUniformLike", [INPUT], ["x"]), helper.make_node("Softmax", ["x"], [OUTPUT])]
        ),
        "draws by chance",
    ),
    "too many operators": (
        lambda: model_of([helper.make_node("Identity", [INPUT], [f"x{n}"]) for n in range(NODES_MAX + 1)]),
        "operators",
    ),
    "an operator that there is not": (
        lambda: model_of([helper.make_node("NoSuch", [INPUT], [OUTPUT])]),
        "can't be run",
    ),
    "other columns": (lambda: model_of(softmax(), columns=3), "columns"),
    "another output": (
        lambda: model_of([helper.make_node("Softmax", [INPUT], ["label"])], output="label"),
        "no output",
    ),
    "no model": (lambda: b"\x00" * 100, "no ONNX model"),
    "a pickle": (lambda: b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.", "no ONNX model"),
}


@pytest.mark.parametrize(("make", "why"), HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_more_than_data_is_refused(tmp_path: Path, make, why: str) -> None:
    assert why in refusal(written(tmp_path, make()))


def endless() -> bytes:
    """Half a minute of products of matrices, in a file of 4 MB."""
    wide, times = 1_000, 400
    zeros = {"first": (2, wide), "next": (wide, wide), "last": (wide, 2)}
    tensors = [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in zeros.items()]
    nodes = [helper.make_node("MatMul", [INPUT, "first"], ["x0"])]
    nodes += [helper.make_node("MatMul", [f"x{n}", "next"], [f"x{n + 1}"]) for n in range(times)]
    nodes += [
        helper.make_node("MatMul", [f"x{times}", "last"], ["x"]),
        helper.make_node("Softmax", ["x"], [OUTPUT], axis=1),
    ]
    return model_of(nodes, initializers=tensors)


def insatiable() -> bytes:
    """Two gigabytes of zeros, in a file of 1 KB."""
    tensors = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in (("n", [2**29]),)]
    nodes = [
        helper.make_node("ConstantOfShape", ["n"], ["many"]),
        helper.make_node("ReduceSum", ["many"], ["sum"], keepdims=0),
        helper.make_node("Add", [INPUT, "sum"], ["x"]),
        helper.make_node("Softmax", ["x"], [OUTPUT], axis=1),
    ]
    return model_of(nodes, initializers=tensors)


def test_a_model_that_would_run_for_long_is_ended_and_has_failed(
    tmp_path: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_files, "RUN_S_MAX", 0.2)
    challenger = load_onnx(written(tmp_path, endless()))
    begun = time.monotonic()
    answers = compare(placed(archive, range(1_000, 2_000)), challenger, archive.regime_of)
    assert {"FAILED"} == {each.standing for each in answers}
    assert time.monotonic() - begun < 20


def test_a_model_that_asks_for_more_memory_than_any_may_has_failed(tmp_path: Path, archive: Archive) -> None:
    challenger = load_onnx(written(tmp_path, insatiable()))
    [answer] = compare(placed(archive, [1_000]), challenger, archive.regime_of)
    assert answer.standing == "FAILED"


def test_a_payment_on_which_a_model_fails_costs_the_others_nothing(tmp_path: Path, archive: Archive) -> None:
    """Gather has a row for each amount below 1,000 pence, and raises beyond."""
    table = numpy_helper.from_array(np.tile(np.array([[0.75, 0.25]], np.float32), (1_000, 1)), "table")
    place = numpy_helper.from_array(np.array([0], np.int64), "place")
    nodes = [
        helper.make_node("Gather", [INPUT, "place"], ["amount"], axis=1),
        helper.make_node("Cast", ["amount"], ["row"], to=TensorProto.INT64),
        helper.make_node("Squeeze", ["row", "one"], ["rows"]),
        helper.make_node("Gather", ["table", "rows"], [OUTPUT], axis=0),
    ]
    one = numpy_helper.from_array(np.array([1], np.int64), "one")
    challenger = load_onnx(written(tmp_path, model_of(nodes, initializers=[table, place, one])))
    amounts = [5_000 if n in {100, 701} else n for n in range(1, 900)]
    answers = compare(placed(archive, amounts), challenger, archive.regime_of)
    assert [100, 701] == [n for n, each in zip(range(1, 900), answers, strict=True) if each.standing == "FAILED"]
    assert {250_000} == {each.challenger_probability_ppm for each in answers if each.standing == "COMPARED"}


def test_a_folder_that_holds_anything_else_is_refused(tmp_path: Path) -> None:
    directory = written(tmp_path, model_of(softmax()))
    (directory / "weights.bin").write_bytes(b"")
    assert "unexpected file" in refusal(directory)
    (directory / "weights.bin").unlink()
    (directory / MODEL).unlink()
    os.symlink("/dev/zero", directory / MODEL)
    assert "link" in refusal(directory)


def test_a_model_too_large_to_be_one_is_refused(tmp_path: Path) -> None:
    directory = written(tmp_path, model_of(softmax()))
    with (directory / MODEL).open("r+b") as file:
        file.truncate(MODEL_BYTES_MAX + 1)
    assert "too large" in refusal(directory)


@pytest.mark.parametrize(
    "change",
    [{"version": "net-2"}, {"format": 2}, {"format": True}, {"features": []}, {"features": ["no_such"]}, {"more": 1}],
    ids=str,
)
def test_a_manifest_that_says_otherwise_is_refused(tmp_path: Path, change) -> None:
    from models.artefact.strict import parsed

    directory = written(tmp_path, model_of(softmax()))
    said = parsed((directory / MANIFEST).read_bytes(), MANIFEST)
    assert isinstance(said, dict)
    (directory / MANIFEST).write_bytes(canonical({**said, **change}))
    refusal(directory)


def test_without_its_runtime_it_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, real = written(tmp_path, model_of(softmax())), builtins.__import__

    def without(name, *rest):
        if name.startswith("onnx"):
            raise ImportError(name=name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(OnnxMissing, match="needs onnxruntime"):
        load_onnx(directory)


@pytest.mark.parametrize("learner", ["logistic", "boosted", "forest"])
def test_an_estimator_answers_in_the_shadow_as_it_did_where_it_was_fitted(
    tmp_path: Path, archive: Archive, learner: str
) -> None:
    learned = write_learned(_examples(), tmp_path / "learned-1", learner, 7)
    challenger = load_onnx(tmp_path / "learned-1")
    assert challenger.digest.hex() == learned.digest
    answers = compare(placed(archive, range(1_000, 200_000, 10_000)), challenger, archive.regime_of)
    assert {"COMPARED"} == {each.standing for each in answers}
    assert not list((tmp_path / "learned-1").glob("*.pkl"))


def test_a_history_without_fraud_makes_no_challenger(tmp_path: Path) -> None:
    examples = _examples()
    honest = examples._replace(fraud=np.zeros_like(examples.fraud))
    with pytest.raises(HistoryRefused):
        write_learned(honest, tmp_path / "learned-1", "logistic", 7)
    assert not (tmp_path / "learned-1").exists()
    assert columns(honest).dtype == np.float32


@cache
def _examples():
    return generated(TrafficSettings(seed=7, accounts=200, start_ms=1_764_072_000_000, days=20, fraud_share=0.02))


@pytest.mark.parametrize("version", ["../x", "a/b", "", "."])
def test_no_name_leads_out_of_the_folder(version: str, settings_of) -> None:
    with pytest.raises((NoChallenger, ModelRefused)):
        load_challenger(settings_of(), version or None)


def test_one_name_for_two_models_is_refused(tmp_path: Path, archive: Archive, settings_of) -> None:
    written(tmp_path, model_of(softmax()), "small-1")
    settings = settings_of(model_registry=archive.registry, challengers_path=tmp_path)
    with pytest.raises(NoChallenger, match="two models"):
        load_challenger(settings, "small-1")
    with pytest.raises(NoChallenger, match="no challenger is named"):
        load_challenger(settings)
    (archive.registry / "challenger").write_text("small-1\n")
    with pytest.raises(NoChallenger, match="two models"):
        load_challenger(settings)


def test_production_names_no_challenger_by_a_file_that_anybody_can_edit(archive: Archive, settings_of) -> None:
    (archive.registry / "challenger").write_text("small-1\n")
    keys = archive.registry.parent / "keys"
    settings = settings_of(model_registry=archive.registry)
    assert load_challenger(settings).version == "small-1"
    keys.write_text(key_set_text(KeySet({})))
    with pytest.raises(ModelRefused, match="no key of use models"):
        load_challenger(settings.model_copy(update={"profile": Profile.PRODUCTION, "seal_keys_file": keys}))


def test_where_there_are_keys_the_signed_record_names_the_challenger_and_its_bytes(tmp_path, settings_of) -> None:
    registry = shipped_registry(tmp_path / "registry")
    key = models_key(tmp_path)
    (tmp_path / "keys").write_text(key_set_text(keys_of(key)))
    settings = settings_of(model_registry=tmp_path / "registry", seal_keys_file=tmp_path / "keys")
    version = VERSION
    (tmp_path / "registry" / "challenger").write_text(f"{version}\n")
    with pytest.raises(NoChallenger, match="no signed record"):
        load_challenger(settings)
    move_alias(registry, keys_of(key), key, alias=Alias.CHALLENGER, version=version, by="ann", at_ms=1)
    assert load_challenger(settings).version == version
    card = tmp_path / "registry" / version / "manifest.json"
    card.write_bytes(card.read_bytes().replace(b'"approvals":[]', b'"approvals":[ ]'))
    with pytest.raises(ModelRefused):
        load_challenger(settings)


def test_a_challenger_learns_nothing_of_payments_that_are_younger_than_their_labels(tmp_path: Path) -> None:
    """Their frauds that nobody has reported yet would be honest to it, as they aren't to a glass box."""
    lines = [(*row[:5], row[5] if row[1] < (histories.DAYS - 7) * histories.DAY_S else 0) for row in histories.rows()]
    path = histories.written(tmp_path / "history.csv", lines)
    learned = learn(path, NO_MAP, tmp_path / "learned-1", "logistic", 7)
    of_all = learn(path, NO_MAP, tmp_path / "learned-2", "logistic", 7, are_labels_final=True)
    assert of_all.examples == len(lines) * 8 // 10
    assert learned.examples == pytest.approx(of_all.examples * (histories.DAYS - 7) / histories.DAYS, rel=0.02)
