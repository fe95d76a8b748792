"""A model reads as many tokens as in sentence-transformers, however its files state lengths, or where they state none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from shoal.workers.encoding.model import AS_DOCUMENT, AS_QUERY, EncodeOptions, ModelError
from support.models.model_folders import (
    bert_folder,
    gpt2_folder,
    llama_folder,
    modernbert_folder,
    mpnet_folder,
    nomic_folder,
    qwen_folder,
    roberta_folder,
    sinusoidal_folder,
    xlnet_folder,
)
from support.models.models import loaded, reference

pytest.importorskip("torch")
pytest.importorskip("transformers")

UNSTATED = {"model_max_length": None}
# What transformers writes for no limit.
SENTINEL = int(1e30)
LONG = "a " * 500


@dataclass(frozen=True)
class Case:
    """What the files of a model state. All networks state 64 positions unless `config` says otherwise."""

    what: str
    limit: int
    sentence: dict[str, Any] = field(default_factory=dict)
    """sentence_bert_config.json; no file if empty."""
    tokenizer: dict[str, Any] = field(default_factory=dict)
    """Fields of tokenizer_config.json; None deletes one."""
    folder: Callable[[Path], Path] = bert_folder
    peer: int | None = None
    """What sentence-transformers reads, where it is something else: it fails on longer texts, or reads them whole."""
    truncation: int = 0
    """max_length of a truncation in tokenizer.json."""

    def write(self, folder: Path) -> Path:
        self.folder(folder)
        file = folder / "sentence_bert_config.json"
        file.unlink(missing_ok=True)
        if self.sentence:
            file.write_text(json.dumps(self.sentence))
        edit(folder / "tokenizer_config.json", self.tokenizer)
        if self.truncation:
            cut = {"direction": "Right", "max_length": self.truncation, "strategy": "LongestFirst", "stride": 0}
            edit(folder / "tokenizer.json", {"truncation": cut})
        return folder


def edit(file: Path, fields: dict[str, Any]) -> None:
    values = json.loads(file.read_text()) | fields
    # Null is written where the file must hold it; elsewhere the field goes.
    file.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


CASES = (
    Case("max_seq_length", 40, {"max_seq_length": 40}),
    Case("max_seq_length is null", 64, {"max_seq_length": None}, UNSTATED),
    Case("max_seq_length before the tokenizer's", 40, {"max_seq_length": 40}, {"model_max_length": 30}),
    Case("the tokenizer's", 30, {}, {"model_max_length": 30}),
    Case("the tokenizer's by its old name", 22, {}, {**UNSTATED, "max_len": 22}),
    Case("the tokenizer states more than the positions", 64, {}, {"model_max_length": 1000}),
    Case("the tokenizer's sentinel", 64, {}, {"model_max_length": SENTINEL}),
    Case("nothing but positions", 64, {}, UNSTATED),
    Case("truncation in tokenizer.json is no limit", 64, {}, UNSTATED, truncation=20),
    Case("truncation in tokenizer.json beside max_seq_length", 30, {"max_seq_length": 30}, UNSTATED, truncation=20),
    Case("arguments of the tokenizer", 25, {"max_seq_length": 30, "processor_kwargs": {"model_max_length": 25}}),
    Case("arguments of the tokenizer by their old name", 25, {"tokenizer_args": {"model_max_length": 25}}),
    Case("arguments of its calls", 12, {"max_seq_length": 30, "processing_kwargs": {"text": {"max_length": 12}}}),
    Case("more than learned positions", 64, {"max_seq_length": 100}, peer=100),
    Case("more than sinusoidal positions", 64, {"max_seq_length": 100}, folder=sinusoidal_folder, peer=100),
    Case("more than rotary positions", 200, {"max_seq_length": 200}, folder=modernbert_folder),
    Case("more than rotary positions of a language model", 200, {"max_seq_length": 200}, folder=qwen_folder),
    Case("rotary positions", 64, {}, UNSTATED, modernbert_folder),
    Case("rotary positions of NomicBERT", 64, {}, UNSTATED, nomic_folder),
    Case("rotary positions that are many", 2048, {}, UNSTATED, llama_folder),
    Case("rotary positions and the tokenizer's", 512, {}, {}, llama_folder),
    Case("positions that count from the padding", 40, {}, UNSTATED, roberta_folder, peer=42),
    Case("relative and learned positions", 62, {}, UNSTATED, mpnet_folder, peer=64),
    Case("n_positions", 64, {}, UNSTATED, gpt2_folder),
    Case("more than n_positions", 64, {"max_seq_length": 100}, folder=gpt2_folder, peer=100),
    Case("positions without number, the tokenizer's", 512, {}, {}, xlnet_folder),
    Case("nothing at all", 8192, {}, UNSTATED, xlnet_folder, peer=SENTINEL),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_a_model_reads_as_many_tokens_as_its_files_state(case: Case, tmp_path: Path) -> None:
    folder = case.write(tmp_path / "model")
    model = loaded(folder)
    assert model.max_tokens == case.limit
    text = LONG * (1 + case.limit // 500)
    [read] = model.tokenize([text], AS_DOCUMENT)
    assert (read.count, read.truncated) == (case.limit, True)
    if case.limit < 2000:
        # Positions exist for each of them.
        assert model.encode([text]).errors == [""]
    other = reference(folder)
    peer = case.peer or case.limit
    if "processing_kwargs" not in case.sentence:
        assert other.max_seq_length == peer
    if peer < 10**6:
        assert len(other.preprocess([text])["input_ids"][0]) == peer


def test_a_bert_of_2048_positions_reads_2048_tokens(tmp_path: Path) -> None:
    folder = bert_folder(tmp_path / "model", positions=2048)
    (folder / "sentence_bert_config.json").unlink()
    edit(folder / "tokenizer_config.json", UNSTATED)
    model = loaded(folder)
    assert model.max_tokens == reference(folder).max_seq_length == 2048
    encoded = model.encode(["a " * 2046, "a " * 2047])
    assert (encoded.tokens, encoded.truncated, encoded.errors) == ([2048, 2048], [False, True], ["", ""])


def test_a_folder_without_modules_json_states_lengths_in_the_tokenizer_only(tmp_path: Path) -> None:
    folder = bert_folder(tmp_path / "model")
    (folder / "modules.json").unlink()
    assert loaded(folder).max_tokens == reference(folder).max_seq_length == 64


def test_queries_and_documents_may_have_lengths_of_their_own(tmp_path: Path) -> None:
    folder = bert_folder(tmp_path / "model")
    config = folder / "sentence_bert_config.json"
    before = loaded(folder).fingerprint
    config.write_text(json.dumps({"max_seq_length": 40, "query_length": 10, "document_length": 50}))
    model, other = loaded(folder), reference(folder)
    assert model.max_tokens == 50
    for options, task, tokens in ((AS_QUERY, "query", 10), (AS_DOCUMENT, "document", 50)):
        assert model.encode([LONG], options).tokens == [tokens]
        assert len(other.preprocess([LONG], task=task)["input_ids"][0]) == tokens
    [prompted] = model.encode(["moon"], EncodeOptions(role=AS_QUERY.role, prompt="a " * 9)).errors
    assert prompted == "the prompt alone has 11 tokens, the model's limit is 10"
    one_length = {"max_seq_length": 50}
    config.write_text(json.dumps(one_length))
    assert len({before, model.fingerprint, loaded(folder).fingerprint}) == 3


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ({"max_seq_length": 0}, "max_seq_length must be an integer of at least 1, not 0"),
        ({"tokenizer_args": {"model_max_length": "9"}}, "model_max_length must be an integer of at least 1, not '9'"),
        ({"query_length": -1}, "query_length must be an integer of at least 1, not -1"),
        ({"query_length": 2}, "a limit of 2 tokens leaves no room for text: 2 are special"),
        ({"processing_kwargs": {"text": {"truncation": False}}}, "truncation False of the transformer is not supported"),
        ({"processing_kwargs": {"text": {"stride": 2}}}, "processing_kwargs .* of the transformer are not supported"),
        ({"processing_kwargs": {"chat_template": {"x": 1}}}, "processing_kwargs .* of the transformer are not supported"),
        (
            {"modality_config": {"message": {"method": "forward", "method_output_name": "last_hidden_state"}}},
            "a transformer that reads texts as chat messages is not supported",
        ),
    ],
)
def test_settings_that_would_change_what_is_read_are_refused(sentence: dict[str, Any], reason: str, tmp_path: Path) -> None:
    folder = bert_folder(tmp_path / "model")
    (folder / "sentence_bert_config.json").write_text(json.dumps(sentence))
    with pytest.raises(ModelError, match=reason):
        loaded(folder)
