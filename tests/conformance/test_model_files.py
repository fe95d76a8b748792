"""Settings from a model's own files, and errors for damaged files and unsupported settings."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoal.workers.encoding.model import AS_QUERY, EMPTY_TEXT, EncodeOptions, ModelError, Role
from shoal.workers.encoding.static.table_model import NOTHING_KNOWN
from support.models.model_folders import (
    MAX_TOKENS,
    bert_folder,
    dense_folder,
    glove_file,
    instructor_folder,
    llama_folder,
    model2vec_folder,
    roberta_folder,
    static_folder,
    word2vec_file,
    word_table,
    write_sentence_files,
)
from support.models.models import (
    TEXTS,
    loaded,
    minilm_folder,
    reference,
    reference_vectors,
)
from support.shared_data import shared_data

pytest.importorskip("torch")
pytest.importorskip("transformers")


def test_prompts_are_put_before_texts_by_role(tmp_path: Path) -> None:
    plain = loaded(bert_folder(tmp_path / "plain"))
    prompted = loaded(bert_folder(tmp_path / "prompted", {"query": "fish: ", "passage": "water: "}))
    query, document = prompted.encode(["the tide"], AS_QUERY), prompted.encode(["the tide"])
    expected = plain.encode(["fish: the tide", "water: the tide"])
    np.testing.assert_allclose(np.concatenate([query.vectors, document.vectors]), expected.vectors, atol=1e-5)
    assert query.tokens == expected.tokens[:1]
    assert prompted.fingerprint != plain.fingerprint
    assert prompted.encode([""], AS_QUERY).errors == [EMPTY_TEXT]


def test_a_callers_prompt_replaces_the_roles(tmp_path: Path) -> None:
    """E5 models state their prompts only in their documentation."""
    folder = bert_folder(tmp_path / "model", {"query": "fish: "})
    model, other = loaded(folder), reference(folder)
    for prompt in ("query: ", "passage: ", ""):
        found = model.encode(TEXTS, EncodeOptions(role=Role.QUERY, prompt=prompt)).vectors
        np.testing.assert_allclose(found, reference_vectors(other, TEXTS, Role.QUERY, prompt=prompt), atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "weightedmean", "mean_sqrt_len_tokens", "lasttoken"])
def test_a_callers_prompt_is_left_out_of_pooling_where_the_models_are(pooling: str, tmp_path: Path) -> None:
    folder = instructor_folder(tmp_path / "model")
    config = folder / "1_Pooling" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "pooling_mode": pooling}))
    found = loaded(folder).encode(TEXTS, EncodeOptions(prompt="a side of: ")).vectors
    np.testing.assert_allclose(
        found, reference_vectors(reference(folder), TEXTS, Role.DOCUMENT, prompt="a side of: "), atol=1e-5
    )


def test_a_prompt_that_fills_the_model_is_an_error_of_each_text(tmp_path: Path) -> None:
    model = loaded(bert_folder(tmp_path / "model"))
    encoded = model.encode(["moon", " "], EncodeOptions(prompt="tide " * 60))
    assert encoded.errors == [f"the prompt alone has 62 tokens, the model's limit is {MAX_TOKENS}", EMPTY_TEXT]


@pytest.mark.parametrize("activation", ["linear.Identity", "activation.ReLU", "activation.GELU", "activation.SiLU"])
def test_dense_layers_end_as_their_config_says(activation: str, tmp_path: Path) -> None:
    folder = dense_folder(tmp_path / "model", f"torch.nn.modules.{activation}", outputs=40)
    model = loaded(folder)
    assert model.dimension == 40
    expected = reference_vectors(reference(folder), TEXTS, Role.DOCUMENT)
    np.testing.assert_allclose(model.encode(TEXTS).vectors, expected, atol=1e-5)


def test_a_residual_a_layer_norm_and_an_early_normalise_are_computed_in_order(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = dense_folder(tmp_path / "model")
    config, weights = folder / "2_Dense" / "config.json", folder / "2_Dense" / "model.safetensors"
    config.write_text(json.dumps({**json.loads(config.read_text()), "use_residual": True}))
    save_file({**load_file(weights), "residual.weight": torch.randn(24, 32)}, weights)
    (folder / "4_LayerNorm").mkdir()
    (folder / "4_LayerNorm" / "config.json").write_text(json.dumps({"dimension": 24}))
    norm = {"norm.weight": torch.rand(24) + 0.5, "norm.bias": torch.randn(24)}
    save_file(norm, folder / "4_LayerNorm" / "model.safetensors")
    listed = json.loads((folder / "modules.json").read_text())
    kinds = {"Normalize": "3_Normalize", "Dense": "2_Dense", "LayerNorm": "4_LayerNorm", "Dropout": "5_Dropout"}
    for kind, path in kinds.items():
        listed.insert(
            len(listed) if kind != "Normalize" else 2, {"type": f"sentence_transformers.models.{kind}", "path": path}
        )
    (folder / "5_Dropout").mkdir()
    (folder / "5_Dropout" / "config.json").write_text(json.dumps({"dropout": 0.5}))
    # Transformer, Pooling, Normalize, Dense, LayerNorm, Dropout.
    listed = [*listed[:3], *listed[5:]]
    (folder / "modules.json").write_text(json.dumps([{**m, "idx": i, "name": str(i)} for i, m in enumerate(listed)]))
    expected = reference_vectors(reference(folder), TEXTS, Role.DOCUMENT)
    np.testing.assert_allclose(loaded(folder).encode(TEXTS).vectors, expected, atol=1e-5)


def test_dense_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    folder = dense_folder(tmp_path / "model")
    config = folder / "2_Dense" / "config.json"
    good = json.loads(config.read_text())
    config.write_text(json.dumps({**good, "in_features": 16}))
    with pytest.raises(ModelError, match="2_Dense takes vectors of dimension 16, its input has 32"):
        loaded(folder)
    config.write_text(json.dumps({**good, "out_features": 16}))
    with pytest.raises(ModelError, match=r"the weights of 2_Dense cannot be used: RuntimeError: .*size mismatch"):
        loaded(folder)


@pytest.mark.parametrize("normalize", [False, True])
def test_truncate_dim_of_the_files_keeps_the_leading_dimensions(normalize: bool, tmp_path: Path) -> None:
    folder = bert_folder(tmp_path / "model", pooling="mean", normalize=normalize)
    whole = loaded(folder)
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"truncate_dim": 12}))
    model = loaded(folder)
    assert model.dimension == 12
    assert model.fingerprint != whole.fingerprint
    expected = reference_vectors(reference(folder), TEXTS, Role.DOCUMENT)
    if normalize:
        # Normalized after truncation here; sentence-transformers truncates normalized vectors.
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(model.encode(TEXTS).vectors, expected, atol=1e-5)
    assert model.encode(TEXTS, EncodeOptions(dimensions=5)).vectors.shape == (len(TEXTS), 5)


def test_the_fingerprint_follows_the_content_of_the_folder(tmp_path: Path) -> None:
    folder = dense_folder(tmp_path / "one")
    before = loaded(folder).fingerprint
    copy = shutil.copytree(folder, tmp_path / "two")
    assert loaded(copy).fingerprint == before
    seen = [before]
    weights = bytearray((copy / "2_Dense" / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    dense = json.loads((copy / "2_Dense" / "config.json").read_text())
    for name, content in {
        "1_Pooling/config.json": json.dumps({"pooling_mode": "cls"}),
        "sentence_bert_config.json": json.dumps({"max_seq_length": 20}),
        "2_Dense/model.safetensors": bytes(weights),
        "2_Dense/config.json": json.dumps({**dense, "activation_function": "torch.nn.modules.linear.Identity"}),
        "config_sentence_transformers.json": json.dumps({"prompts": {"query": "q: "}}),
    }.items():
        (copy / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        seen.append(loaded(copy).fingerprint)
    assert len(set(seen)) == 6


def test_a_batch_that_fails_is_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = loaded(roberta_folder(tmp_path / "model"))
    texts = [f"the tide {number}" for number in range(9)]
    expected = model.encode(texts)
    hidden = model._network.hidden
    poison = 4
    poison_id = model._tokenizer.tokenize([str(poison)])[0].ids[1]

    def failing(batch: Any) -> Any:
        if (batch.ids == poison_id).any():
            raise RuntimeError("out of\nmemory")
        return hidden(batch)

    monkeypatch.setattr(model._network, "hidden", failing)
    encoded = model.encode(texts)
    assert [row for row, error in enumerate(encoded.errors) if error] == [poison]
    assert encoded.errors[poison] == "the model failed: RuntimeError: out of memory"
    rest = [row for row in range(len(texts)) if row != poison]
    np.testing.assert_allclose(encoded.vectors[rest], expected.vectors[rest], atol=1e-5)


def test_weights_that_lack_tensors_are_refused(tmp_path: Path) -> None:
    torch_files = pytest.importorskip("safetensors.torch")
    folder = bert_folder(tmp_path / "model")
    weights = torch_files.load_file(folder / "model.safetensors")
    weights = {key: value for key, value in weights.items() if "layer.1.attention" not in key and "pooler" not in key}
    torch_files.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"the weights lack \d+ tensors, the first is encoder.layer.1.attention"):
        loaded(folder)


@pytest.mark.parametrize("damaged", ["model.safetensors", "tokenizer.json", "config.json", "2_Dense/model.safetensors"])
def test_damaged_files_are_reported_in_one_line(damaged: str, tmp_path: Path) -> None:
    folder = dense_folder(tmp_path / "model")
    (folder / damaged).write_bytes(b"{ damaged")
    with pytest.raises(ModelError) as caught:
        loaded(folder)
    assert str(caught.value).startswith(f"model {str(folder)!r}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damaged", ["model.safetensors", "tokenizer.json", "config.json"])
def test_damaged_files_of_a_table_are_reported_in_one_line(damaged: str, tmp_path: Path) -> None:
    folder = model2vec_folder(tmp_path / "model")
    (folder / damaged).write_bytes(b"{ damaged")
    with pytest.raises(ModelError) as caught:
        loaded(folder)
    assert str(caught.value).startswith(f"model {str(folder)!r}: ")
    assert "\n" not in str(caught.value)


def test_a_plain_language_model_is_pooled_by_its_last_token(tmp_path: Path) -> None:
    folder = llama_folder(tmp_path / "model")
    expected = loaded(folder).encode(TEXTS).vectors
    (folder / "modules.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["LlamaForCausalLM"]}))
    np.testing.assert_allclose(loaded(folder).encode(TEXTS).vectors, expected, atol=1e-5)


@pytest.mark.parametrize("write", [glove_file, word2vec_file])
def test_word_vectors_are_averaged(write: Any, tmp_path: Path) -> None:
    model, words = loaded(write(tmp_path / "vectors")), word_table()
    encoded = model.encode(["The moon, unheard-of: MOON tide!", "qwerty", "star"])
    assert encoded.errors == ["", NOTHING_KNOWN, ""]
    assert encoded.tokens == [5, 0, 1]
    expected = (words["the"] + 2 * words["moon"] + words["of"] + words["tide"]) / 5
    np.testing.assert_allclose(encoded.vectors[0], expected / np.linalg.norm(expected), atol=1e-6)
    np.testing.assert_allclose(encoded.vectors[2], words["star"] / np.linalg.norm(words["star"]), atol=1e-6)


def test_a_table_in_any_language_has_a_probe_text(tmp_path: Path) -> None:
    """With it, a replica checks that the model works; the table may lack every English word."""
    (tmp_path / "vectors.txt").write_text("</s> 1 2\n, 3 4\nnull 0 0\n月 1 -1\n", encoding="utf-8")
    model = loaded(tmp_path / "vectors.txt")
    # Words are found as they are written.
    assert model.probe_text == "</s>"
    (tmp_path / "vectors.txt").write_text("moon 0 0\nnull 0 0\n月 1 -1\n", encoding="utf-8")
    # The first two have a zero vector.
    assert loaded(tmp_path / "vectors.txt").probe_text == "月"
    (tmp_path / "vectors.txt").write_text("moon 0 0\n, 0 0\n")
    with pytest.raises(ModelError, match="none of the first 1000 words of its table has a vector"):
        loaded(tmp_path / "vectors.txt")


def test_a_tables_fingerprint_follows_its_content(tmp_path: Path) -> None:
    file = glove_file(tmp_path / "vectors.txt")
    before = loaded(file).fingerprint
    assert loaded(shutil.copy(file, tmp_path / "copy.vec")).fingerprint == before
    file.write_text(file.read_text()[:-2] + "9\n")
    assert loaded(file).fingerprint != before
    folder = static_folder(tmp_path / "static")
    before = loaded(folder).fingerprint
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "other: "}}))
    assert loaded(folder).fingerprint != before


def test_a_token_that_the_table_lacks_is_an_error_of_its_text(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = static_folder(tmp_path / "model")
    table = load_file(folder / "model.safetensors")["embedding.weight"]
    save_file({"embedding.weight": table[:-1]}, folder / "model.safetensors")
    encoded = loaded(folder).encode(["the tide", "deep water"])
    assert encoded.errors[0] == ""
    assert f"token id {len(table) - 1}, but the table has {len(table) - 1} tokens" in encoded.errors[1]


def test_a_real_static_model_gives_the_vectors_of_its_package() -> None:
    """Its package computes them in Rust. Unlike model2vec, it averages unknown tokens too, so these texts have none."""
    package = pytest.importorskip("static_model")
    found = importlib.util.find_spec("static_model")
    assert found is not None and found.submodule_search_locations
    texts = ["a shoal of fish", "how do I pack a folder?", "the moon", "Dans quel fuseau horaire est Paris", "tide " * 700]
    model = loaded(Path(found.submodule_search_locations[0]) / "model")
    encoded = model.encode(texts)
    assert (model.dimension, encoded.errors, encoded.truncated) == (64, [""] * 5, [False] * 4 + [True])
    np.testing.assert_allclose(encoded.vectors, package.get_embeddings(texts), atol=1e-5)


def test_modules_in_an_unsupported_order_are_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    write_sentence_files(folder, "mean", normalize=False)
    listed = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps(listed[::-1]))
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).write_text("{}")
    with pytest.raises(ModelError, match=r"modules.json lists Pooling, Transformer, expected Transformer, Pooling"):
        loaded(folder)


def test_minilm_gives_the_golden_vectors() -> None:
    golden = shared_data("golden")
    lines = (golden / "minilm-l6-v2.stsb-dev-s1-256.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    encoded = loaded(minilm_folder()).encode([row["text"] for row in rows])
    assert encoded.errors == [""] * 256
    assert encoded.tokens == [len(row["input_ids"]) for row in rows]
    np.testing.assert_allclose(encoded.vectors, np.load(golden / "minilm-l6-v2.stsb-dev-s1-256.f32.npy"), atol=2e-5)
