"""`shoal train word2vec`: reads the command line and runs the training."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from shoal.cluster.jobs.word2vec.training_report import TrainingReport
from shoal.cluster.ray_runtime.environment import set_ray_defaults
from shoal.console import HELP_SETTINGS, Failure, FilePath
from shoal.workers.training.word2vec import CBOW_LEARNING_RATE, LEARNING_RATE, TrainingError, Word2VecSettings

# Copies: importing the modules that define them takes a second. A test compares.
FORMATS = ("folder", "text", "binary", "npy")
POOLINGS = ("mean", "sif")
SCHEMES = ("contraction", "adasum", "norm-ratio", "mean")
DEVICES = ("cpu", "cuda", "auto")
SCHEME, ROUND_WORDS, CHECKPOINT_EVERY_S = "contraction", 0, 60.0

_OF_SETTINGS = Word2VecSettings()


@click.group(context_settings=HELP_SETTINGS, no_args_is_help=True)
def train() -> None:
    """Train word vectors on your own text."""


def _setting(name: str, text: str, **attributes: Any) -> Any:
    """An option for a field of Word2VecSettings, which defines its default and limits."""
    default = getattr(_OF_SETTINGS, name.removeprefix("--").replace("-", "_"))
    return click.option(name, type=type(default), default=default, show_default=True, help=text, **attributes)


@train.command(
    epilog="\b\nExamples:\n  shoal train word2vec corpus.txt --output vectors\n"
    "  shoal train word2vec 'wiki/*.parquet' --text-field body --tokenizer unicode --lowercase --dim 300 --output vectors\n"
    "  shoal train word2vec corpus.txt --format binary --output vectors.bin --workers 4 --threads 2\n"
    "  ray job submit -- shoal train word2vec /data/wiki --workers 16 --output /data/vectors\n\n"
    "Run the same command after an interruption to resume. Then look at the result:\n\n"
    "\b\n  shoal similar vectors lighthouse\n  shoal eval analogy vectors questions-words.txt\n"
    "  shoal create NAME --model ./vectors",
    short_help="Train Word2Vec: skip-gram or CBOW with negative sampling.",
    context_settings=HELP_SETTINGS,
)
@click.argument("corpus", metavar="CORPUS...", nargs=-1, required=True)
@click.option("--output", type=FilePath(), required=True, metavar="PATH", help="Folder or file to write.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="folder",
    show_default=True,
    help="A model folder for collections, word2vec's text or binary format, or a numpy array and a file of words.",
)
@click.option("--overwrite", is_flag=True, help="Start over, and replace PATH once the new vectors are complete.")
@_setting("--dim", "Dimensions of a vector.")
@_setting("--window", "Largest number of context words on each side.")
@_setting("--negative", "Negative samples for each word.")
@_setting("--epochs", "Passes over the corpus.")
@click.option(
    "--learning-rate",
    type=float,
    default=0.0,
    help=f"Learning rate at the start; it falls linearly.  [default: {LEARNING_RATE}, with --cbow {CBOW_LEARNING_RATE}]",
)
@_setting("--min-learning-rate", "Learning rate at the end.")
@_setting("--sample", "Randomly drop words with a larger share of the corpus than this. 0 drops none.")
@click.option(
    "--cbow", is_flag=True, help="Predict words from their context (CBOW) instead of the context from words (skip-gram)."
)
@click.option("--exact", is_flag=True, help="Draw new negatives for each pair of words, as published. Several times slower.")
@_setting("--min-count", "Ignore words that occur less often.")
@_setting("--max-vocabulary", "Keep only the N most frequent words. 0 keeps all.", metavar="N")
@_setting("--negative-power", "Negatives are drawn with probability proportional to count to this power.")
@_setting("--seed", "With one worker and one thread, the same seed gives the same vectors.")
@click.option(
    "--tokenizer",
    default="whitespace",
    show_default=True,
    metavar="NAME",
    help="whitespace, unicode (words by Unicode's rules, in any language), or package.module:function, called with a line.",
)
@click.option("--lowercase", is_flag=True, help="Convert words to lower case.")
@click.option(
    "--text-field",
    "text_fields",
    multiple=True,
    metavar="FIELD",
    help="Field with the text, in files with fields; several are joined with spaces. Default: title, and text, content or"
    " body.",
)
@click.option("--hidden", is_flag=True, help="Also read files and folders whose names begin with a dot or an underscore.")
@click.option("--rejects", type=FilePath(), metavar="FILE", help="Write the bad rows to FILE, as JSON lines.")
@click.option(
    "--max-sentence", type=int, default=1000, show_default=True, help="Longest sentence in words; longer lines are split."
)
@click.option(
    "--phrases",
    type=int,
    default=0,
    metavar="TIMES",
    help="Join words that belong together (new_york), this many times; twice makes longer phrases.",
)
@click.option(
    "--phrase-threshold", type=float, default=100.0, show_default=True, help="Join pairs of words with a higher score."
)
@click.option(
    "--phrase-discount", type=int, default=5, show_default=True, help="Never join pairs that occur at most this often."
)
@click.option(
    "--pooling",
    type=click.Choice(POOLINGS),
    default="mean",
    show_default=True,
    help="How the folder, used as a model, combines word vectors: mean, or weighted towards rare words (SIF).",
)
@click.option("--keep-output-vectors", is_flag=True, help="Also save the output vectors of the training in the folder.")
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Training processes. Several need Ray."
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads of each worker. Default: its share of all cores.")
@click.option("--device", type=click.Choice(DEVICES), default="cpu", show_default=True, help="auto uses CUDA if available.")
@click.option(
    "--gpus", type=click.FloatRange(min=0), default=0.0, help="GPU share of each worker. More than 0 implies --device cuda."
)
@click.option(
    "--averaging",
    type=click.Choice(SCHEMES),
    default=SCHEME,
    show_default=True,
    help="How the workers' changes to a word are merged: added for rare words and averaged for common ones (contraction),"
    " added where independent and averaged where similar (adasum, norm-ratio), or always averaged (mean).",
)
@click.option(
    "--round-words",
    type=int,
    default=ROUND_WORDS,
    help="Words that each worker trains between merges. Default: 2 million, 250,000 with 8 workers.",
)
@click.option(
    "--hot-rows", type=int, default=0, help="With --full-every: merge the N most frequent words in every round.", metavar="N"
)
@click.option(
    "--full-every", type=int, default=1, show_default=True, help="Merge all words only in every N-th round.", metavar="N"
)
@click.option(
    "--checkpoint-every",
    type=click.FloatRange(min=0),
    default=CHECKPOINT_EVERY_S,
    show_default=True,
    metavar="SECONDS",
    help="Shortest time between checkpoints, from which an interrupted training resumes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines on stdout.")
def word2vec(corpus: tuple[str, ...], output: Path, as_json: bool, **options: Any) -> None:
    """Train word vectors on CORPUS...: text files with a sentence per line, JSON lines, CSV, TSV (.gz and .xz too), Parquet,
    folders, patterns or URIs. Several workers join the Ray cluster at RAY_ADDRESS, or start Ray on this machine."""
    set_ray_defaults(quiet=True)
    from shoal.cluster.jobs.word2vec.train_job import LearnerPoolSettings, TableOutput, run_word2vec
    from shoal.workers.encoding.word_vectors import Pooling, TableFormat
    from shoal.workers.training.word2vec import AveragingSettings, CorpusSettings, MergeScheme, TrainingListeners

    def given(*names: str) -> dict[str, Any]:
        return {name: options[name] for name in names}

    try:
        settings = Word2VecSettings(**given(*Word2VecSettings.__dataclass_fields__))
        corpus_settings = CorpusSettings(**given(*CorpusSettings.__dataclass_fields__.keys() - {"unit_bytes"}))
        scheme = MergeScheme(options["averaging"])
        averaging = AveragingSettings(scheme=scheme, **given("round_words", "hot_rows", "full_every"))
        device = "cuda" if options["gpus"] else options["device"]
        pool = LearnerPoolSettings(
            workers=options["workers"], threads=options["threads"] or 0, device=device, gpus=options["gpus"]
        )
        form, pooling = TableFormat(options["form"]), Pooling(options["pooling"])
        target = TableOutput(path=output, form=form, pooling=pooling, **given("keep_output_vectors"))
    except TrainingError as error:
        raise click.UsageError(str(error)) from error
    report = TrainingReport(str(output), as_json, options["rejects"])
    listeners = TrainingListeners(
        report.phase,
        report.scanned,
        report.unread,
        report.started,
        report.advanced,
        report.device_chosen,
        report.too_few_words,
    )
    try:
        with report, _sigterm_as_interrupt():
            summary = run_word2vec(
                corpus,
                target,
                settings,
                corpus_settings,
                averaging,
                pool,
                options["overwrite"],
                listeners,
                options["checkpoint_every"],
                options["hidden"],
                report.note,
            )
    except TrainingError as error:
        raise Failure(str(error)) from error
    except KeyboardInterrupt:
        rest = " without --overwrite" if options["overwrite"] else ""
        click.echo(f"stopped; run the same command{rest} to resume from {output}.training", err=True)
        raise
    report.finished(summary)


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Handles SIGTERM like Ctrl-C: `ray job stop` and most supervisors send it."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
