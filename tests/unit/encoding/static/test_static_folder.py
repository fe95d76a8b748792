import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

safetensors = pytest.importorskip("safetensors.numpy")

from shoal.workers.encoding.model import ModelError  # noqa: E402
from shoal.workers.encoding.static.static_folder import read_static_folder, static_part  # noqa: E402

TABLE = np.arange(12, dtype=np.float32).reshape(4, 3)


def write(folder: Path, tensors: dict[str, Any], config: Any = None, modules: list[tuple[str, str]] | None = None) -> Path:
    inner = folder / (modules[0][1] if modules else "")
    inner.mkdir(parents=True, exist_ok=True)
    safetensors.save_file(tensors, inner / "model.safetensors")
    if config is not None:
        (inner / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    if modules:
        listed = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in modules]
        (folder / "modules.json").write_text(json.dumps(listed))
    return folder


STATIC = [("StaticEmbedding", "")]


def test_a_static_table_is_distinguished_from_other_models(tmp_path: Path) -> None:
    assert static_part(write(tmp_path / "a", {"embeddings": TABLE})) == tmp_path / "a"
    nested = write(tmp_path / "b", {"embedding.weight": TABLE}, modules=[("StaticEmbedding", "0_StaticEmbedding")])
    assert static_part(nested) == nested / "0_StaticEmbedding"
    assert static_part(write(tmp_path / "c", {"encoder.weight": TABLE})) is None
    assert static_part(write(tmp_path / "d", {"embeddings": TABLE}, modules=[("Transformer", "")])) is None
    assert static_part(tmp_path) is None
    (tmp_path / "model.safetensors").write_bytes(b"damaged, and long enough")
    assert static_part(tmp_path) is None


@pytest.mark.parametrize("kind", ["float32", "float16", "float64", "int8"])
def test_rows_of_each_type_are_read_as_float32(kind: str, tmp_path: Path) -> None:
    static = read_static_folder(write(tmp_path, {"embeddings": TABLE.astype(kind)}), "m")
    taken = static.table.rows.take(np.array([3, 0]))
    assert (taken.dtype, taken.tolist()) == (np.float32, TABLE[[3, 0]].tolist())


def test_vectors_stay_in_the_file(tmp_path: Path) -> None:
    static = read_static_folder(write(tmp_path, {"embeddings": TABLE}), "m")
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(np.float32(42).tobytes())
    assert static.table.rows.take(np.array([3]))[0, 2] == 42


def test_the_mean_follows_mapping_and_weights(tmp_path: Path) -> None:
    mapping, weights = np.array([2, 2, 0, 1, 3], dtype=np.int64), np.array([1, 0.5, 2, 1, 1], dtype=np.float32)
    static = read_static_folder(write(tmp_path, {"embeddings": TABLE, "mapping": mapping, "weights": weights}), "m")
    assert static.table.count == 5
    texts = [np.array(ids, dtype=np.int32) for ids in ([0, 1], [2], [4, 4, 3])]
    expected = [(TABLE[2] + TABLE[2] / 2) / 2, TABLE[0] * 2, (2 * TABLE[3] + TABLE[1]) / 3]
    np.testing.assert_allclose(static.table.means(texts), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("config", "modules", "normalize", "limit", "without_unknown"),
    [
        (None, None, False, 512, True),
        ({"normalize": True, "max_length": 64}, None, True, 64, True),
        ({"normalize": False, "max_length": None}, [*STATIC, ("Normalize", "1_Normalize")], True, None, True),
        ({"normalize": True}, STATIC, False, 512, True),
    ],
)
def test_settings_of_model2vec_are_read(
    config: Any, modules: Any, normalize: bool, limit: int | None, without_unknown: bool, tmp_path: Path
) -> None:
    static = read_static_folder(write(tmp_path, {"embeddings": TABLE}, config, modules), "m")
    assert (static.config.normalize, static.max_tokens, static.without_unknown) == (normalize, limit, without_unknown)


def test_a_static_embedding_reads_all_of_a_text(tmp_path: Path) -> None:
    static = read_static_folder(write(tmp_path, {"embedding.weight": TABLE}, modules=STATIC), "m")
    assert (static.config.normalize, static.max_tokens, static.without_unknown) == (False, None, False)


@pytest.mark.parametrize(
    ("tensors", "config", "reason"),
    [
        ({"embeddings": TABLE[0]}, None, "embeddings of model.safetensors has shape (3,), expected rows and columns"),
        (
            {"embeddings": TABLE.astype(np.int32)},
            None,
            "embeddings of model.safetensors is of type 'I32', supported are F32, F16, F64, I8",
        ),
        (
            {"embeddings": TABLE, "mapping": np.array([0, 4])},
            None,
            "mapping of model.safetensors has rows outside 0 to 3",
        ),
        (
            {"embeddings": TABLE, "weights": np.ones(3, dtype=np.float32)},
            None,
            "model.safetensors has weights for 3 tokens, expected 4",
        ),
        ({"embeddings": TABLE}, {"max_length": 0}, "max_length of config.json must be an integer of at least 1, not 0"),
        ({"embeddings": TABLE}, "[]", "config.json holds list, not an object"),
        ({"embeddings": TABLE}, "{", "config.json cannot be read: "),
    ],
)
def test_malformed_files_are_named(tensors: dict[str, Any], config: Any, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        read_static_folder(write(tmp_path, tensors, config), "m")
    assert str(caught.value).startswith(f"model 'm': {reason}")


def test_a_file_that_was_cut_off_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, {"embeddings": TABLE}) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"model.safetensors is cut short: embeddings does not fit into it"):
        read_static_folder(tmp_path, "m")


def test_modules_without_a_table_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model.safetensors has no tensor embeddings or embedding.weight"):
        read_static_folder(write(tmp_path, {"weight": TABLE}, modules=STATIC), "m")


def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", {"embedding.weight": TABLE})
    folder = write(tmp_path / "model", {"embedding.weight": TABLE}, modules=STATIC)
    (folder / "modules.json").write_text(json.dumps([{"type": "a.StaticEmbedding", "path": "../elsewhere"}]))
    with pytest.raises(ModelError, match=r"module path '../elsewhere' of modules.json leaves the model folder"):
        read_static_folder(folder, "m")
