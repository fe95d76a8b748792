"""The command `shoal train word2vec` with one worker, in this process."""

from __future__ import annotations

import dataclasses
import json
import lzma
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from shoal.client.cli import main
from shoal.cluster.jobs.word2vec import commands
from shoal.cluster.jobs.word2vec.training_report import TrainingReport
from shoal.workers.encoding.loading.loading import load_model
from shoal.workers.encoding.word_vectors.saving import TableFormat
from shoal.workers.encoding.word_vectors.word_folder import Pooling, read_word_folder
from shoal.workers.encoding.word_vectors.word_table import WordTable, read_word_table
from shoal.workers.training.word2vec.averaging.averaging_settings import AveragingSettings
from shoal.workers.training.word2vec.averaging.merge import MergeScheme
from shoal.workers.training.word2vec.corpus.corpus_settings import CorpusSettings
from shoal.workers.training.word2vec.learners.training_device import DEVICES
from shoal.workers.training.word2vec.run import local_pool as local_pool
from shoal.workers.training.word2vec.run.checkpoint import CHECKPOINT_EVERY_S
from shoal.workers.training.word2vec.settings import Word2VecSettings

SMALL = ("--dim", 8, "--epochs", 2, "--threads", 1, "--lowercase", "--tokenizer", "unicode")


def shoal(*arguments: object, **environment: str) -> Result:
    clean: dict[str, str | None] = {"RAY_ADDRESS": None, **environment}
    return CliRunner(env=clean).invoke(main, [str(argument) for argument in arguments])


def train(corpus: object, output: object, *options: object) -> Result:
    return shoal("train", "word2vec", corpus, "--output", output, *SMALL, *options)


def trained(corpus: Path, output: Path, *options: object) -> WordTable:
    done = train(corpus, output, *options)
    assert done.exit_code == 0, done.output
    return read_word_table(output)


def failed(done: Result) -> str:
    assert (done.exit_code, done.stdout) == (1, ""), done.output
    lines = done.stderr.splitlines()
    assert lines and lines[-1].startswith("shoal: ")
    return lines[-1]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real text, a document on each line."""
    packed = resources.files("shoal.client.samples").joinpath("tldr.jsonl.xz").read_bytes()
    texts = [json.loads(line)["text"] for line in lzma.decompress(packed).decode().splitlines()]
    path = tmp_path_factory.mktemp("corpus") / "tldr.txt"
    path.write_text("".join(" ".join(text.split()) + "\n" for text in texts))
    return path


@pytest.fixture(scope="module")
def folder(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trained") / "vectors"
    done = train(corpus, output, "--pooling", "sif", "--keep-output-vectors")
    assert done.exit_code == 0, done.output
    lines = done.stderr.splitlines()
    assert "of the corpus is read" in lines[0] and lines[1].startswith("vocabulary of ")
    assert lines[-1].startswith("100%  ") and "words/s  loss " in lines[-1] and "learning rate 0.00010" in lines[-1]
    assert f" vectors in {output}; " in done.stdout and done.stdout.count("\n") == 1
    return output


def test_the_folder_is_a_model_and_has_words(folder: Path):
    model = load_model(str(folder), threads=1)
    assert model.dimension == 8 and not any(model.encode(["Copy a file.", "list directories"]).errors)
    held = read_word_folder(folder, "vectors")
    assert held.config.pooling is Pooling.SIF and (held.config.tokenizer, held.config.lowercase) == ("unicode", True)
    assert (held.config.training["kind"], held.config.training["epochs"]) == ("word2vec", 2)
    assert (folder / "output.safetensors").is_file()
    message = json.loads(shoal("similar", folder, "file", "-n", 3, "--json").stdout)
    assert len(message["words"]) == 3
    assert not folder.with_name("vectors.training").exists()


def test_events(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    done = train(corpus, "v", "--json", "--round-words", 20_000)
    assert (done.exit_code, done.stderr) == (0, "")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [event["event"] for event in events]
    assert (kinds[0], kinds[-1]) == ("phase", "finished") and {"reading", "started", "progress"} < {*kinds}
    started, finished = events[kinds.index("started")], events[-1]
    assert started["trained_before"] == 0
    assert finished["words"] == 2 * started["corpus_words"] == events[-3]["words"]
    assert (events[-3]["event"], events[-3]["share"], events[-3]["eta_s"]) == ("progress", 1.0, 0.0)
    assert finished["vocabulary"] == started["vocabulary"] == len(read_word_table(tmp_path / "v").words)
    assert finished["output"] == "v" and finished["words_per_s"] > 0 and finished["rounds"] > 2


def test_a_bar_on_a_terminal(corpus: Path, tmp_path: Path):
    arguments = ["train", "word2vec", corpus, "--output", tmp_path / "v", *SMALL]
    done = shoal(*arguments, FORCE_COLOR="1", COLUMNS="140", TERM="xterm")
    assert done.exit_code == 0
    assert "training" in done.stderr and "words/s" in done.stderr and "\x1b[" in done.stderr


@pytest.mark.parametrize("form", ["text", "binary", "npy"])
def test_forms_of_files_hold_the_same_vectors(corpus: Path, folder: Path, tmp_path: Path, form: str):
    table = trained(corpus, tmp_path / ("v.npy" if form == "npy" else "v.txt"), "--format", form)
    expected = read_word_table(folder)
    assert table.words == expected.words
    # With one thread and a seed, the same training gives the same numbers; text has fewer digits.
    assert np.allclose(table.vectors, expected.vectors, rtol=0, atol=1e-5 if form == "text" else 0)


def test_options_reach_the_training(corpus: Path, folder: Path, tmp_path: Path):
    usual = read_word_table(folder)
    other = trained(corpus, tmp_path / "other", "--seed", 2)
    assert other.words == usual.words and not np.allclose(other.vectors, usual.vectors, atol=1e-3)
    settings = Word2VecSettings(
        dim=12,
        window=3,
        negative=4,
        epochs=1,
        learning_rate=0.04,
        min_learning_rate=0.001,
        sample=0.01,
        cbow=True,
        exact=True,
        min_count=20,
        max_vocabulary=50,
        negative_power=0.5,
        seed=7,
    )
    options = []
    for name, value in dataclasses.asdict(settings).items():
        options += [f"--{name.replace('_', '-')}", *([] if value is True else [value])]
    table = trained(corpus, tmp_path / "all", *options, "--max-sentence", 20, "--phrases", 1, "--phrase-threshold", 50)
    assert table.vectors.shape == (50, 12)
    config = read_word_folder(tmp_path / "all", "all").config
    corpus_settings = config.training["corpus"]
    assert {name: config.training[name] for name in dataclasses.asdict(settings)} == dataclasses.asdict(settings)
    assert (corpus_settings["max_sentence"], corpus_settings["phrases"], corpus_settings["phrase_threshold"]) == (
        20,
        1,
        50,
    ) and config.phrases


def test_the_current_folder_as_output(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    assert train(corpus, ".").exit_code == 0
    assert len(read_word_table(inside).words) > 100 and list(tmp_path.iterdir()) == [inside]


def test_existing_output_is_replaced_only_on_request(corpus: Path, tmp_path: Path):
    output = tmp_path / "v"
    trained(corpus, output)
    before = (output / "model.safetensors").read_bytes()
    assert f"{output}: already exists (use --overwrite; replaced only after the new one is complete)" in failed(
        train(corpus, output, "--seed", 2)
    )
    assert (output / "model.safetensors").read_bytes() == before
    trained(corpus, output, "--seed", 2, "--overwrite")
    assert (output / "model.safetensors").read_bytes() != before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--window", 0], "window is 0, must be between 1 and 256"),
        (["--dim", -5], "dim is -5, must be between 1 and 4096"),
        (["--negative", 0], "negative is 0"),
        (["--epochs", 0], "epochs is 0"),
        (["--learning-rate", -1], "learning_rate is -1"),
        (["--learning-rate", "nan"], "learning_rate is nan"),
        (["--min-learning-rate", 1], "min_learning_rate is 1, must be between 0 and 0.025"),
        (["--sample", 2], "sample is 2"),
        (["--min-count", 0], "min_count is 0"),
        (["--max-vocabulary", -1], "max_vocabulary is -1"),
        (["--tokenizer", "words"], "tokenizer is 'words'"),
        (["--max-sentence", 0], "max_sentence is 0"),
        (["--phrases", -1], "phrases is -1"),
        (["--round-words", 1], "round_words is 1"),
        (["--full-every", 0], "full_every is 0"),
        (["--format", "text", "--pooling", "sif"], "pooling is sif, which format text cannot store"),
        (["--format", "npy", "--keep-output-vectors"], "format npy cannot store the output vectors"),
        (["--dim", "many"], "'many' is not a valid integer"),
        (["--averaging", "median"], "'median' is not one of"),
        (["--workers", 0], "0 is not in the range"),
        (["--threads", 0], "0 is not in the range"),
        (["--gpus", -1], "-1.0 is not in the range"),
        (["--checkpoint-every", -1], "-1.0 is not in the range"),
    ],
)
def test_wrong_usage(corpus: Path, tmp_path: Path, options: list[object], message: str):
    done = train(corpus, tmp_path / "v", *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["train"], ["train", "nonsense"], ["train", "word2vec"], ["train", "word2vec", "c"]])
def test_errors_before_a_training_starts(arguments: list[str]):
    assert shoal(*arguments).exit_code == 2


def test_the_chosen_device_is_reported(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    done = train(corpus, tmp_path / "one", "--device", "auto")
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines()[0] == "training on cpu: torch is not installed"
    events = train(corpus, tmp_path / "two", "--device", "auto", "--json").stdout.splitlines()
    device = {"event": "device", "device": "cpu", "reason": "torch is not installed"}
    assert device in [json.loads(event) for event in events]
    assert "training on" not in train(corpus, tmp_path / "three").stderr


def test_too_many_workers_are_reported(capsys: pytest.CaptureFixture[str]):
    for worthwhile, kept in ((1, "1 worker keeps"), (3, "up to 3 workers keep")):
        TrainingReport("v", as_json=False).too_few_words(31_000_000, worthwhile)
        message = capsys.readouterr()
        assert (
            message.err
            == f"note: 31,000,000 words in all epochs are too few for this many workers: {kept} the quality of one\n"
        )
    TrainingReport("v", as_json=True).too_few_words(31_000_000, 3)
    event = json.loads(capsys.readouterr().out)
    assert event == {"event": "crowded", "words": 31_000_000, "worthwhile_workers": 3}


def test_failures_are_one_line(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    empty, rare, short, inside = (tmp_path / name for name in ("empty.txt", "rare.txt", "short.txt", "folder"))
    empty.touch()
    rare.write_text("once upon a time\n")
    short.write_text("once\n" * 5)
    inside.mkdir()
    (inside / "notes.txt").write_text("mine")
    output = tmp_path / "v"
    assert f"{tmp_path}/no.txt: no such file or folder" in failed(train(tmp_path / "no.txt", output))
    assert "the corpus is empty" in failed(train(empty, output))
    assert "no word of the corpus occurs 5 times (min_count)" in failed(train(rare, output))
    assert "no sentence has two words of the vocabulary" in failed(train(short, output))
    assert "it has files that are not trained word vectors" in failed(train(corpus, inside))
    assert (inside / "notes.txt").read_text() == "mine"
    assert "tokenizer no.such:thing: cannot be imported" in failed(train(corpus, output, "--tokenizer", "no.such:thing"))
    assert "device is 'cuda', but " in failed(train(corpus, output, "--device", "cuda", "--exact"))
    message = failed(train(corpus, output, "--workers", 2, "--device", "auto"))
    assert "device is 'auto', but workers on a cluster need cpu or cuda" in message
    assert "exact is set" in failed(train(corpus, output, "--workers", 2, "--gpus", 0.5, "--exact"))
    monkeypatch.setattr(local_pool, "free_memory", lambda: 1 << 20)
    assert "GiB are free; use a smaller dim or max_vocabulary" in failed(train(corpus, output, "--dim", 4096))
    assert not output.exists()


def test_the_group_and_its_commands_explain_themselves():
    assert "word2vec" in shoal("train", "--help").stdout
    message = shoal("train", "word2vec", "--help").stdout
    assert "ray job submit -- shoal train word2vec" in message and "after an interruption to resume" in message
    assert all(
        f"--{name.replace('_', '-')}" in message for name in ("dim", "negative_power", "averaging", "checkpoint_every")
    )


def test_help_matches_the_libraries_defaults():
    assert {*commands.FORMATS} == {*TableFormat} and {*commands.POOLINGS} == {*Pooling}
    assert {*commands.SCHEMES} == {*MergeScheme} and {*commands.DEVICES} == {*DEVICES}
    averaging, corpus_settings = AveragingSettings(), CorpusSettings()
    assert (averaging.scheme, averaging.round_words) == (commands.SCHEME, commands.ROUND_WORDS)
    assert commands.CHECKPOINT_EVERY_S == CHECKPOINT_EVERY_S
    defaults = commands.word2vec.make_context("word2vec", ["corpus", "--output", "vectors"]).params
    assert dataclasses.asdict(corpus_settings).items() - {("unit_bytes", corpus_settings.unit_bytes)} <= defaults.items()
    assert (defaults["hot_rows"], defaults["full_every"]) == (averaging.hot_rows, averaging.full_every)
