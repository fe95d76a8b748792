"""`shoal train word2vec` on texts whose letters have marks: what it trains on is what models, `shoal similar` and `shoal
eval` find, and no word is lost."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from gensim.models import Word2Vec

from shoal.client.cli import main
from shoal.workers.encoding import EmbeddingModel, load_model
from shoal.workers.encoding.word_vectors import read_word_table
from shoal.workers.encoding.words import raw_words_of
from shoal.workers.evaluation import WordCandidates, nearest_words

TEXTS = {
    "Hindi": (
        "हिन्दी भारत की राजभाषा है। यह देवनागरी लिपि में लिखी जाती है।\n"
        "कमल एक सुंदर फूल है, और ज़मीन पर नहीं, पानी में खिलता है।\n"
        "क्‍ष और ज्ञ संयुक्त अक्षर हैं।\n"
    ),
    "Tamil": ("தமிழ் ஒரு செம்மொழி. தமிழ் மொழியை மக்கள் பேசுகிறார்கள்.\nயாதும் ஊரே யாவரும் கேளிர், தீதும் நன்றும் பிறர்தர வாரா.\n"),
    "Thai": "ภาษาไทยเป็นภาษาที่ใช้ในประเทศไทย น้ำใสไหลเย็น\nเด็กผู้หญิงกินข้าวที่บ้าน น้ำใสไหลเย็น\n",
    "Bengali": ("বাংলা ভাষা দক্ষিণ এশিয়ার একটি ভাষা। আমি বাংলায় গান গাই।\nহঠাৎ বৃষ্টি এলো, নদীর ধারে পড়ে রইল নৌকা। উৎসব শুরু হলো।\n"),
    "Arabic with vowels": (
        "اللُّغَةُ العَرَبِيَّةُ هِيَ أَكْثَرُ اللُّغَاتِ تَحَدُّثًا، وَهِيَ لُغَةٌ قَدِيمَةٌ.\nكَتَبَ الوَلَدُ الدَّرْسَ فِي المَدْرَسَةِ؛ كَتَبَ الوَلَدُ رِسَالَةً.\n"
    ),
    "Hebrew with points": ("בְּרֵאשִׁית בָּרָא אֱלֹהִים אֵת הַשָּׁמַיִם וְאֵת הָאָרֶץ׃\nשָׁלוֹם לָכֶם, שָׁלוֹם עֲלֵיכֶם. ד״ר כֹּהֵן גָּר בְּחֵיפָה.\n"),
    "decomposed French": unicodedata.normalize(
        "NFD",
        "L’été dernier, le café était déjà fermé. Où êtes-vous allés après?\n"
        "La forêt était belle cet été, et l’hôtel près du café aussi.\n",
    ),
    "decomposed Vietnamese": unicodedata.normalize(
        "NFD",
        "Tiếng Việt là ngôn ngữ của người Việt. Người Việt nói tiếng Việt.\n"
        "Hà Nội là thủ đô của nước Việt Nam, nước có nhiều sông ngòi.\n",
    ),
}


@pytest.fixture(scope="module", params=TEXTS)
def text(request: pytest.FixtureRequest) -> str:
    return TEXTS[request.param]


def train(text: str, folder: Path, tokenizer: str, form: str) -> Path:
    (folder / "text.txt").write_text(text, encoding="utf-8")
    options = f"--tokenizer {tokenizer} --format {form} --dim 8 --epochs 1 --threads 1 --min-count 1 --sample 0"
    command = ["train", "word2vec", str(folder / "text.txt"), "--output", str(folder / "v"), *options.split()]
    done = CliRunner(env={"RAY_ADDRESS": None}).invoke(main, command)
    assert done.exit_code == 0, done.output
    return folder / "v"


def tokens(model: EmbeddingModel, texts: list[str]) -> list[int]:
    encoded = model.encode(texts)
    assert encoded.errors == [""] * len(texts)
    return list(encoded.tokens)


@pytest.mark.parametrize(("tokenizer", "form"), [("whitespace", "folder"), ("unicode", "folder"), ("unicode", "text")])
def test_no_word_of_a_trained_text_is_lost(text: str, tokenizer: str, form: str, tmp_path: Path) -> None:
    trained = train(text, tmp_path, tokenizer, form)
    split = str.split if tokenizer == "whitespace" else raw_words_of
    model = load_model(str(trained), threads=1)
    lines = text.splitlines()
    words = list(dict.fromkeys(split(text)))
    # Without punctuation between spaces, both split into the same number of words.
    assert [len(split(line)) for line in lines] == [len(line.split()) for line in lines]
    assert tokens(model, lines) == [len(split(line)) for line in lines]
    assert tokens(model, words) == [1] * len(words)
    for form_name in ("NFC", "NFD"):
        other = [unicodedata.normalize(form_name, line) for line in lines]
        np.testing.assert_array_equal(model.encode(other).vectors, model.encode(lines).vectors)
    table = read_word_table(trained)
    candidates = WordCandidates(table.words, table.vectors)
    assert all(nearest_words(candidates, [word], count=1) for word in words)
    found = candidates.find(words, ignore_case=False)
    assert [len(rows) for rows in found.values()] == [1] * len(words)
    assert {table.words[rows[0]] for rows in found.values()} == {*table.words}


def test_the_vocabulary_is_that_of_gensim(text: str, tmp_path: Path) -> None:
    table = read_word_table(train(text, tmp_path, "whitespace", "folder"))
    assert table.counts is not None
    sentences = [unicodedata.normalize("NFC", line).split() for line in text.splitlines()]
    keyed = Word2Vec(sentences, vector_size=8, min_count=1, workers=1, epochs=1).wv
    theirs = {word: keyed.get_vecattr(word, "count") for word in keyed.index_to_key}
    assert (
        dict(zip(table.words, map(int, table.counts), strict=True))
        == theirs
        == Counter(word for line in sentences for word in line)
    )
