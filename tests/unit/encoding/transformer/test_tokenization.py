from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("tokenizers")
pytest.importorskip("transformers")

from shoal.workers.encoding.model import ModelError, Truncation
from shoal.workers.encoding.transformer.tokenization import (
    PromptTooLong,
    TokenizedText,
    Tokenizer,
    character_cut,
    character_tail,
    transformer_tokenizer,
)
from support.models.model_folders import bert_folder

LIMIT = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert_folder(tmp_path_factory.mktemp("tokenizer") / "bert")


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    tokenizer = transformer_tokenizer(folder, "bert")
    tokenizer.limit(LIMIT)
    return tokenizer


def test_ids_are_those_of_transformers_cut_or_not(folder: Path, tokenizer: Tokenizer) -> None:
    from transformers import AutoTokenizer

    reference: Any = AutoTokenizer.from_pretrained(str(folder))
    # Long words make few tokens of many characters; here the cut in characters comes long before the cut in tokens.
    texts = ["moon", "the tide turns " * 9, "x" * 5000 + " moon", "the" + " " * 9000 + "tide " * 40, "planet " * LIMIT]
    expected = [reference(text, truncation=True, max_length=LIMIT)["input_ids"] for text in texts]
    lengths = [len(reference(text)["input_ids"]) for text in texts]
    tokenized = tokenizer.tokenize(texts)
    assert [text.ids.tolist() for text in tokenized] == expected
    assert all(text.ids.dtype == np.int32 and text.type_ids is None for text in tokenized)
    assert [text.truncated for text in tokenized] == [length > LIMIT for length in lengths]


def test_a_text_of_exactly_the_limit_is_not_truncated(tokenizer: Tokenizer) -> None:
    words = LIMIT - tokenizer.special_tokens
    fits, passes = tokenizer.tokenize(["moon " * words, "moon " * (words + 1)])
    assert (len(fits.ids), fits.truncated) == (LIMIT, False)
    assert (len(passes.ids), passes.truncated) == (LIMIT, True)


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.tokenize([text])[0].ids.tolist()


def test_the_start_is_cut_and_special_tokens_stay_where_they_are(tokenizer: Tokenizer) -> None:
    words = [
        "the",
        "tide",
        "turns",
        "at",
        "once",
        "in",
        "deep",
        "water",
        "and",
        "the",
        "moon",
        "locks",
        "slowly",
        "a",
        "planet",
    ]
    (cut,) = tokenizer.tokenize([" ".join(words)], truncation=Truncation.START)
    assert cut.truncated
    assert cut.ids.tolist() == ids(tokenizer, " ".join(words[-(LIMIT - 2) :]))
    (whole,) = tokenizer.tokenize(["the tide"], truncation=Truncation.START)
    assert (whole.truncated, whole.ids.tolist()) == (False, ids(tokenizer, "the tide"))


@pytest.mark.parametrize("truncation", [Truncation.END, Truncation.START])
def test_a_prompt_is_read_and_never_cut(tokenizer: Tokenizer, truncation: Truncation) -> None:
    words = [
        "tide",
        "turns",
        "at",
        "once",
        "in",
        "deep",
        "water",
        "and",
        "moon",
        "locks",
        "slowly",
        "planet",
        "orbit",
        "star",
        "fish",
        "one",
        "side",
    ]
    short, long = tokenizer.tokenize(["moon", " ".join(words)], "a shoal: ", truncation)
    assert short.ids.tolist() == ids(tokenizer, "a shoal: moon")
    kept = words[: LIMIT - 5] if truncation is Truncation.END else words[-(LIMIT - 5) :]
    assert long.ids.tolist() == ids(tokenizer, "a shoal: " + " ".join(kept))
    # [CLS] a shoal :
    assert (short.prompt_tokens, long.prompt_tokens, long.truncated) == (4, 4, True)


def test_a_prompt_that_leaves_no_room_is_refused(tokenizer: Tokenizer) -> None:
    fits = "moon " * (LIMIT - 3)
    assert len(tokenizer.tokenize(["tide fish"], fits)[0].ids) == LIMIT
    with pytest.raises(PromptTooLong, match="the prompt alone has 12 tokens, the model's limit is 12"):
        tokenizer.tokenize(["tide"], "moon " * (LIMIT - 2))


@pytest.mark.parametrize("cut_start", [False, True])
def test_cutting_by_characters_never_changes_the_tokens(tokenizer: Tokenizer, cut_start: bool) -> None:
    """Words of many characters and few tokens, and of one character, before and behind the first cuts."""
    tokenizer_without_cuts = whole(tokenizer)
    random = np.random.default_rng(5)
    pieces = ["moon ", "x" * 130 + " ", "q" * 90, "  " * 40, "月", "x" * 600, "a. "]
    texts = ["".join(random.choice(pieces, size=random.integers(1, 120))) for _ in range(60)]
    truncation = Truncation.START if cut_start else Truncation.END
    found, expected = (each.tokenize(texts, truncation=truncation) for each in (tokenizer, tokenizer_without_cuts))
    assert [text.ids.tolist() for text in found] == [text.ids.tolist() for text in expected]
    assert [text.truncated for text in found] == [text.truncated for text in expected]
    assert any(text.truncated for text in found) and not all(text.truncated for text in found)


def whole(tokenizer: Tokenizer) -> Any:
    """The same, reading each text to its end."""

    class Whole:
        def tokenize(self, texts: list[str], truncation: Truncation) -> list[TokenizedText]:
            results = []
            for encoding in tokenizer._encode(texts):
                read = np.array(encoding.ids, dtype=np.int32)
                special, room = encoding.special_tokens_mask, LIMIT - tokenizer.special_tokens
                body = [number for number, mark in zip(read, special, strict=True) if not mark]
                if len(read) > LIMIT:
                    body = body[-room:] if truncation is Truncation.START else body[:room]
                results.append(TokenizedText(np.array([2, *body, 3], dtype=np.int32), None, len(read) > LIMIT, 0))
            return results

    return Whole()


def test_many_threads_read_with_one_tokenizer(tokenizer: Tokenizer) -> None:
    texts = [f"the moon {number} " * (1 + number % 7) for number in range(64)]
    options = [("", Truncation.END), ("a: ", Truncation.START), ("", Truncation.REFUSE), ("shoal ", Truncation.END)]

    def read(turn: int) -> list[list[int]]:
        prompt, truncation = options[turn % len(options)]
        return [text.ids.tolist() for text in tokenizer.tokenize(texts, prompt, truncation)]

    expected = [read(turn) for turn in range(len(options))]
    with ThreadPoolExecutor(8) as threads:
        for turn, found in enumerate(threads.map(read, range(64))):
            assert found == expected[turn % len(options)]


def test_type_ids_are_given_where_they_are_not_zero() -> None:
    import tokenizers

    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[C]": 0, "a": 1, "b": 2, "[S]": 3}, unk_token="a"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    # XLNet closes a text by a token of a type of its own.
    backend.post_processor = tokenizers.processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        "$A:0 [S]:0 [C]:2", special_tokens=[("[C]", 0), ("[S]", 3)]
    )
    tokenizer = Tokenizer(backend)
    tokenizer.limit(4)
    whole, cut = tokenizer.tokenize(["a b", "b a b a"])
    assert (whole.ids.tolist(), cut.ids.tolist()) == ([1, 2, 3, 0], [2, 1, 3, 0])
    for text in (whole, cut):
        assert text.type_ids is not None
        assert text.type_ids.tolist() == [0, 0, 0, 2]


@given(st.text(alphabet="ab \n", max_size=300), st.integers(1, 200))
def test_a_cut_is_a_beginning_and_ends_between_words_where_it_can(text: str, limit: int) -> None:
    cut = character_cut(text, limit)
    assert text.startswith(cut)
    assert len(cut) <= limit
    assert len(cut) == len(text) or len(cut) >= limit - limit // 8
    near = text[limit - limit // 8 + 1 : limit + 1] if len(text) > limit else ""
    if any(letter.isspace() for letter in near):
        assert text[len(cut)].isspace()


@given(st.text(alphabet="ab \n", max_size=300), st.integers(1, 200))
def test_a_tail_is_an_end_and_begins_between_words_where_it_can(text: str, limit: int) -> None:
    tail = character_tail(text, limit)
    assert text.endswith(tail)
    assert len(tail) <= limit
    assert len(tail) == len(text) or len(tail) > limit - max(1, limit // 8)
    first = len(text) - limit
    near = text[first : first + limit // 8] if len(text) > limit else ""
    if any(letter.isspace() for letter in near):
        assert tail[0].isspace()


def test_a_folder_without_a_tokenizer_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the tokenizer cannot be loaded: ") as caught:
        transformer_tokenizer(tmp_path, "bert")
    assert "\n" not in str(caught.value)
