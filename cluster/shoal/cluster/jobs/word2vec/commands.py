"""`shoal train word2vec`: reads the command line. What is done is running's, how it is told narrator's."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from shoal.cluster.jobs.word2vec.training_report import TrainingReport
from shoal.cluster.ray_runtime.environment import set_ray_defaults
from shoal.console import HELP_SETTINGS, Failure
from shoal.workers.training.word2vec import CBOW_LEARNING_RATE, LEARNING_RATE, TrainingError, Word2VecSettings

# As the libraries have them, which take a second to import; a test compares.
FORMATS = ("folder", "text", "binary", "npy")
POOLINGS = ("mean", "sif")
SCHEMES = ("contraction", "adasum", "norm-ratio", "mean")
DEVICES = ("cpu", "cuda", "auto")
SCHEME, ROUND_WORDS, CHECKPOINT_EVERY_S = "contraction", 0, 60.0

_OF_SETTINGS = Word2VecSettings()


@click.group(context_settings=HELP_SETTINGS, no_args_is_help=True)
def train() -> None:
    """Train word vectors on your own text."""


def _setting(name: str, told: str, **attributes: Any) -> Any:
    """An option of Word2VecSettings, which knows its default and its limits."""
    default = getattr(_OF_SETTINGS, name.removeprefix("--").replace("-", "_"))
    return click.option(name, type=type(default), default=default, show_default=True, help=told, **attributes)


@train.command(
    epilog="\b\nExamples:\n  shoal train word2vec corpus.txt --output vectors\n"
    "  shoal train word2vec 'wiki/*.parquet' --text-field body --tokenizer unicode --lowercase --dim 300 --output vectors\n"
    "  shoal train word2vec corpus.txt --format binary --output vectors.bin --workers 4 --threads 2\n"
    "  ray job submit -- shoal train word2vec /data/wiki --workers 16 --output /data/vectors\n\n"
    "Run it again after an interruption: it goes on where it stopped. Then look at the result:\n\n"
    "\b\n  shoal similar vectors lighthouse\n  shoal eval analogy vectors questions-words.txt\n"
    "  shoal create NAME --model ./vectors",
    short_help="Train Word2Vec: skip-gram or CBOW with negative sampling.",
    context_settings=HELP_SETTINGS,
)
@click.argument("corpus", metavar="CORPUS...", nargs=-1, required=True)
@click.option("--output", type=click.Path(path_type=Path), required=True, metavar="PATH", help="Folder or file to write.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="folder",
    show_default=True,
    help="A model folder for collections, word2vec's text or binary, or a numpy array with its words beside it.",
)
@click.option("--overwrite", is_flag=True, help="Begin anew, and replace PATH when the new one is whole.")
@_setting("--dim", "Numbers in a vector.")
@_setting("--window", "Words on each side that are a word's context, at most.")
@_setting("--negative", "Words drawn at random that a word is told apart from.")
@_setting("--epochs", "How often the corpus is gone through.")
@click.option(
    "--learning-rate",
    type=float,
    default=0.0,
    help=f"At the beginning; it falls linearly.  [default: {LEARNING_RATE}, with --cbow {CBOW_LEARNING_RATE}]",
)
@_setting("--min-learning-rate", "At the end.")
@_setting("--sample", "Words with a larger share of the corpus are dropped at random; 0 drops none.")
@click.option("--cbow", is_flag=True, help="Predict a word from its context, not the context from it.")
@click.option("--exact", is_flag=True, help="New negatives for each pair of words, as published; several times slower.")
@_setting("--min-count", "Rarer words are left out.")
@_setting("--max-vocabulary", "Keep so many of the commonest words; 0 keeps all.")
@_setting("--negative-power", "A negative is drawn in proportion to its count to this power.")
@_setting("--seed", "With one worker and one thread, the same seed gives the same vectors.")
@click.option(
    "--tokenizer",
    default="whitespace",
    show_default=True,
    metavar="NAME",
    help="whitespace, unicode (words as a model finds them in a text), or package.module:function, which takes a line.",
)
@click.option("--lowercase", is_flag=True, help="Bring words to lower case.")
@click.option("--text-field", default="", metavar="COLUMN", help="Of Parquet; by default text, content or body.")
@click.option("--max-sentence", type=int, default=1000, show_default=True, help="A longer line is several sentences.")
@click.option(
    "--phrases",
    type=int,
    default=0,
    metavar="TIMES",
    help="Join words that go together (new_york); twice makes longer ones.",
)
@click.option(
    "--phrase-threshold", type=float, default=100.0, show_default=True, help="Pairs with a higher score are joined."
)
@click.option("--phrase-discount", type=int, default=5, show_default=True, help="Pairs that are not more frequent are not.")
@click.option(
    "--pooling",
    type=click.Choice(POOLINGS),
    default="mean",
    show_default=True,
    help="How a folder as a model makes a text's vector: the mean of its words, or rare words weigh more (SIF).",
)
@click.option("--keep-output-vectors", is_flag=True, help="Put the other table of the training into the folder too.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes; several need Ray.")
@click.option("--threads", type=click.IntRange(min=1), help="Of each worker; by default its share of all cores.")
@click.option(
    "--device", type=click.Choice(DEVICES), default="cpu", show_default=True, help="auto takes CUDA if there is one."
)
@click.option("--gpus", type=click.FloatRange(min=0), default=0.0, help="GPU share of each worker; more than 0 means cuda.")
@click.option(
    "--averaging",
    type=click.Choice(SCHEMES),
    default=SCHEME,
    show_default=True,
    help="How the workers' changes of a word become one: added for rare words and averaged for common ones (contraction),"
    " added where independent and averaged where alike (adasum, norm-ratio), or always averaged (mean).",
)
@click.option(
    "--round-words",
    type=int,
    default=ROUND_WORDS,
    help="Words that each worker trains between merges; by default 2 million, 250,000 with 8 workers.",
)
@click.option("--hot-rows", type=int, default=0, help="With --full-every: so many of the commonest words merge every round.")
@click.option("--full-every", type=int, default=1, show_default=True, help="All words merge in every so many-th round.")
@click.option(
    "--checkpoint-every",
    type=click.FloatRange(min=0),
    default=CHECKPOINT_EVERY_S,
    show_default=True,
    metavar="SECONDS",
    help="At least so long between what an interrupted training can go on from.",
)
@click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines on stdout.")
def word2vec(corpus: tuple[str, ...], output: Path, as_json: bool, **options: Any) -> None:
    """Train word vectors on CORPUS...: text files (.gz, .xz too), a sentence on each line, Parquet columns, folders of them,
    or patterns. Several workers join Ray at RAY_ADDRESS, or run it here."""
    set_ray_defaults(quiet=True)
    from shoal.cluster.jobs.word2vec.train_job import LearnerPoolSettings, TableOutput, run_word2vec
    from shoal.workers.encoding.word_vectors.saving import TableFormat
    from shoal.workers.encoding.word_vectors.word_folder import Pooling
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
    report = TrainingReport(str(output), as_json)
    listeners = TrainingListeners(
        report.phase, report.scanned, report.started, report.advanced, report.device_chosen, report.too_few_words
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
    """`ray job stop` and most supervisors ask with SIGTERM."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
