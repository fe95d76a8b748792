from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("tokenizers")
pytest.importorskip("transformers")

from conformance.models import bert_folder
from shoal.workers.encoding.model import ModelError
from shoal.workers.encoding.tokenization import Tokenizer, character_cut

LIMIT = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert_folder(tmp_path_factory.mktemp("tokenizer") / "bert")


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    tokenizer = Tokenizer(folder, "bert")
    tokenizer.limit(LIMIT)
    return tokenizer


def test_ids_are_those_of_transformers_cut_or_not(folder: Path, tokenizer: Tokenizer) -> None:
    from transformers import AutoTokenizer

    reference = AutoTokenizer.from_pretrained(str(folder))
    # Long words make few tokens of many characters; here the cut in characters comes long before the cut in tokens.
    texts = ["moon", "the tide turns " * 9, "x" * 5000 + " moon", "the" + " " * 9000 + "tide " * 40, "planet " * LIMIT]
    expected = [reference(text, truncation=True, max_length=LIMIT)["input_ids"] for text in texts]
    lengths = [len(reference(text)["input_ids"]) for text in texts]
    tokenized = tokenizer.tokenize(texts)
    assert [text.ids for text in tokenized] == expected
    assert [text.truncated for text in tokenized] == [length > LIMIT for length in lengths]


def test_a_text_of_exactly_the_limit_is_not_truncated(tokenizer: Tokenizer) -> None:
    words = LIMIT - tokenizer.special_tokens
    fits, passes = tokenizer.tokenize(["moon " * words, "moon " * (words + 1)])
    assert (len(fits.ids), fits.truncated) == (LIMIT, False)
    assert (len(passes.ids), passes.truncated) == (LIMIT, True)


@given(st.text(alphabet="ab \n", max_size=300), st.integers(1, 200))
def test_a_cut_is_a_beginning_and_ends_between_words_where_it_can(text: str, limit: int) -> None:
    cut = character_cut(text, limit)
    assert text.startswith(cut)
    assert len(cut) <= limit
    assert len(cut) == len(text) or len(cut) >= limit - limit // 8
    near = text[limit - limit // 8 + 1 : limit + 1] if len(text) > limit else ""
    if any(letter.isspace() for letter in near):
        assert text[len(cut)].isspace()


def test_a_folder_without_a_tokenizer_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the tokenizer cannot be loaded: ") as caught:
        Tokenizer(tmp_path, "bert")
    assert "\n" not in str(caught.value)
