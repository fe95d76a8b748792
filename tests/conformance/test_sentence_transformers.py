"""What docs/sentence_transformers.md says is equal, and what it says differs, where no other module tests it."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoal.workers.encoding.model import AS_DOCUMENT, AS_QUERY, EMPTY_TEXT, EncodeOptions, Role
from support.models.model_folders import bert_folder, qwen_folder
from support.models.models import TEXTS, loaded, reference, reference_vectors

pytest.importorskip("torch")
pytest.importorskip("transformers")

PAGE = Path(__file__).parents[2] / "docs" / "sentence_transformers.md"


def edit(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def test_the_page_names_every_parameter_module_and_pooling_mode() -> None:
    pytest.importorskip("sentence_transformers")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    parameters = {*inspect.signature(SentenceTransformer.encode).parameters}
    parameters |= {*inspect.signature(SentenceTransformer.__init__).parameters}
    kinds = {name for name, kind in vars(modules).items() if inspect.isclass(kind)} - {"InputModule", "Module"}
    stated = parameters | kinds | {*modules.Pooling.POOLING_MODES}
    assert {"truncate_dim", "StaticEmbedding", "lasttoken"} <= stated
    named = {*re.findall(r"`(\w+)`", PAGE.read_text())}
    assert stated - {"self", "args", "kwargs"} - named == set()


def test_lower_casing_leaves_special_tokens_alone(tmp_path: Path) -> None:
    folder = bert_folder(tmp_path / "model")
    edit(folder / "sentence_bert_config.json", do_lower_case=True)
    normalizer = json.loads((folder / "tokenizer.json").read_text())["normalizer"]
    edit(folder / "tokenizer.json", normalizer={**normalizer, "lowercase": False})
    model, other = loaded(folder), reference(folder)
    texts = ["The TIDE [SEP] Moon", "MOON", "ΟΔΟΣ", "İ [MASK]"]
    for text, read in zip(texts, model.tokenize(texts, AS_DOCUMENT), strict=True):
        content: Any = read.content
        assert content.ids.tolist() == other.preprocess([text])["input_ids"][0].tolist()
    np.testing.assert_array_equal(model.encode(["MOON"]).vectors, model.encode(["moon"]).vectors)


def test_several_pooling_modes_are_concatenated(tmp_path: Path) -> None:
    folder = bert_folder(tmp_path / "model")
    edit(folder / "1_Pooling" / "config.json", pooling_mode=["cls", "max", "mean_sqrt_len_tokens", "lasttoken"])
    expected = reference_vectors(reference(folder), TEXTS, Role.DOCUMENT)
    np.testing.assert_allclose(loaded(folder).encode(TEXTS).vectors, expected, atol=1e-5)


def test_weights_of_a_smaller_type_are_computed_in_float32(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = bert_folder(tmp_path / "model")
    file = folder / "model.safetensors"
    save_file({key: value.bfloat16() for key, value in load_file(file).items()}, file, metadata={"format": "pt"})
    edit(folder / "config.json", dtype="bfloat16")
    expected = reference_vectors(reference(folder).to(torch.float32), TEXTS, Role.DOCUMENT)
    np.testing.assert_allclose(loaded(folder).encode(TEXTS).vectors, expected, atol=1e-5)


def test_prompts_by_role_differ_where_a_model_names_neither_query_nor_document(tmp_path: Path) -> None:
    folder = bert_folder(tmp_path / "model")
    files = {"prompts": {"passage": "moon ", "other": "fish "}, "default_prompt_name": "other"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(files))
    model, other = loaded(folder), reference(folder)
    for options, own, theirs in ((AS_QUERY, "fish ", ""), (AS_DOCUMENT, "moon ", "")):
        expected = model.encode(TEXTS, EncodeOptions(prompt=own)).vectors
        np.testing.assert_allclose(model.encode(TEXTS, options).vectors, expected, atol=1e-6)
        plain = reference_vectors(other, TEXTS, options.role, prompt=theirs)
        np.testing.assert_allclose(reference_vectors(other, TEXTS, options.role), plain, atol=1e-6)


def test_a_plain_folder_is_normalised_and_its_chat_template_ignored(tmp_path: Path) -> None:
    folder = qwen_folder(tmp_path / "model")
    (folder / "modules.json").unlink()
    expected = reference_vectors(reference(folder), TEXTS, Role.DOCUMENT)
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    (folder / "chat_template.jinja").write_text("{% for message in messages %}fish {{ message['content'] }}{% endfor %}")
    np.testing.assert_allclose(loaded(folder).encode(TEXTS).vectors, expected, atol=1e-5)
    assert "message" in reference(folder)[0].modality_config


def test_a_blank_text_has_a_vector_only_there(tmp_path: Path) -> None:
    folder = bert_folder(tmp_path / "model")
    assert loaded(folder).encode(["", "\n"]).errors == [EMPTY_TEXT] * 2
    assert np.isfinite(reference(folder).encode(["", "\n"])).all()
