"""`shoal eval analogy`, `shoal eval similarity` and `shoal similar`: read the command line and print results.
`shoal.workers.evaluation` computes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoal.console import HELP_SETTINGS, BadRowReport, Failure, FilePath, print_json, print_note, print_table
from shoal.records import reasons_in_words, rows_were
from shoal.workers.runtime import available_cores

if TYPE_CHECKING:
    from shoal.workers.evaluation import QuestionScore, WordCandidates

RESTRICTED = 30_000
_MODELS = (
    "\n\nMODEL is a file of word vectors (word2vec text or binary, GloVe, .vec, .npy), the output of `shoal train word2vec`,"
    " or any embedding model: a hub name, a folder, hashing[:DIMENSION]. Such a model has no word list: it embeds each"
    " word as a text."
)

_as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON value on stdout.")
_rejects = click.option("--rejects", type=FilePath(), metavar="FILE", help="Write the bad rows to FILE, as JSON lines.")
_match_case = click.option("--match-case", is_flag=True, help="Distinguish words that differ only in case.")


@click.group(name="eval", context_settings=HELP_SETTINGS, no_args_is_help=True)
def evaluate() -> None:
    """Score word vectors and embedding models."""


@evaluate.command(
    context_settings=HELP_SETTINGS,
    short_help="Answer questions such as 'Athens is to Greece as Oslo is to what?'.",
    epilog="\b\nExamples:\n  shoal eval analogy ./vectors questions-words.txt\n"
    "  shoal eval analogy glove.6B.300d.txt questions-words.txt --restrict 0 --json\n"
    "  shoal eval analogy all-MiniLM-L6-v2 questions-words.txt --vocabulary words.txt" + _MODELS,
)
@click.argument("model")
@click.argument("file")
@click.option(
    "--restrict",
    type=click.IntRange(min=0),
    default=RESTRICTED,
    show_default=True,
    help="Use only the first N words of the table, or of --vocabulary, as candidates. 0 uses all.",
)
@click.option(
    "--vocabulary",
    metavar="FILE",
    help="Candidates for a model without a word list: a file with a word per line.",
)
@_match_case
@_rejects
@_as_json
def analogy(
    model: str,
    file: str,
    restrict: int,
    vocabulary: str | None,
    match_case: bool,
    rejects: Path | None,
    as_json: bool,
) -> None:
    """Answer the questions of FILE, such as 'Athens is to Greece as Oslo is to what?', with the word nearest to b - a + c
    (3CosAdd).

    FILE is Google's questions-words.txt, or MSR's set as CSV. Candidates are the first words of a table or of --vocabulary,
    or else the words of FILE, which makes the questions easier. Questions with a word that is not a candidate are skipped;
    coverage is the share of questions that were answered.
    """
    from shoal.cluster.jobs.evaluation.question_files import read_questions
    from shoal.workers.evaluation import score_analogies, words_of

    with _failures(), BadRowReport(rejects=rejects) as bad_rows:
        sections = read_questions(file, bad_rows.add)
        if vocabulary is None:
            candidates = _candidates(model, restrict, words_of(sections))
        else:
            candidates = _file_candidates(model, vocabulary, restrict, bad_rows)
        scores = score_analogies(candidates, sections, not match_case)
    sums = {"semantic": scores.semantic, "syntactic": scores.syntactic, "overall": scores.overall}
    if as_json:
        parts = [
            {"name": one.name, "kind": "syntactic" if one.syntactic else "semantic"} | _stats(one.score)
            for one in scores.sections
        ]
        values = {"model": model, "file": str(file), "candidates": len(candidates), "sections": parts}
        print_json(values | {name: _stats(score) for name, score in sums.items()})
    else:
        print_table(
            ["section", "accuracy", "right", "answered", "asked", "coverage"],
            [*(_row(one.name, one.score) for one in scores.sections), None, *(_row(*named) for named in sums.items())],
            text_columns=1,
        )
        click.echo(f"Answers were chosen from {len(candidates)} words.")
    _fail_for(bad_rows)


@evaluate.command(
    context_settings=HELP_SETTINGS,
    short_help="Compare cosines of word pairs with human similarity scores.",
    epilog="\b\nExamples:\n  shoal eval similarity ./vectors wordsim353.tsv men-3000.tsv\n"
    "  shoal eval similarity all-MiniLM-L6-v2 wordsim353.tsv --json" + _MODELS,
)
@click.argument("model")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@_match_case
@click.option("--hidden", is_flag=True, help="Patterns also match files whose names begin with a dot or an underscore.")
@_rejects
@_as_json
def similarity(
    model: str, files: tuple[str, ...], match_case: bool, hidden: bool, rejects: Path | None, as_json: bool
) -> None:
    """Compare the cosines of word pairs with human similarity scores, by Spearman's rank correlation.

    Each FILE has lines of word1, word2 and score, separated by tabs, commas or spaces, with or without a header, as
    WordSim-353 and MEN do. Pairs with an unknown word are skipped; coverage is the share of pairs that were scored.
    """
    from shoal.cluster.jobs.evaluation.pair_files import pairs_of
    from shoal.cluster.jobs.evaluation.word_files import find_word_files
    from shoal.workers.evaluation import score_similarity

    with _failures(), BadRowReport(rejects=rejects) as bad_rows:
        found, note = find_word_files(files, hidden)
        if note:
            print_note(note)
        sets = [pairs_of(file, bad_rows.add) for file in found]
        words = (word for pairs in sets for pair in pairs for word in (pair.first, pair.second))
        candidates = _candidates(model, 0, words)
        scores = [score_similarity(candidates, pairs, not match_case) for pairs in sets]
    scored = list(zip(found, scores, strict=True))
    if as_json:
        values = [{"file": file.shown} | asdict(score) | {"coverage": score.coverage} for file, score in scored]
        print_json({"model": model, "files": values})
    else:
        rows = [
            [file.name, _decimals(score.spearman), str(score.answered), str(score.asked), f"{score.coverage:.1%}"]
            for file, score in scored
        ]
        print_table(["file", "Spearman", "answered", "asked", "coverage"], rows, text_columns=1)
    _fail_for(bad_rows)


@click.command(
    context_settings=HELP_SETTINGS,
    short_help="Print the words that are most similar to others.",
    epilog="\b\nExamples:\n  shoal similar ./vectors lighthouse -n 5\n"
    "  shoal similar glove.6B.300d.txt --positive king --positive woman --negative man\n"
    "  shoal similar all-MiniLM-L6-v2 lighthouse --vocabulary words.txt" + _MODELS,
)
@click.argument("model")
@click.argument("words", metavar="WORD...", nargs=-1)
@click.option("--positive", multiple=True, metavar="WORD", help="Add the vector of this word, as WORD does.")
@click.option("--negative", multiple=True, metavar="WORD", help="Subtract the vector of this word.")
@click.option("-n", "--count", type=click.IntRange(min=1), default=10, show_default=True, help="Number of words to print.")
@click.option(
    "--restrict",
    type=click.IntRange(min=0),
    default=0,
    help="Use only the first N words of the table. 0 uses all.",
    metavar="N",
)
@click.option(
    "--vocabulary",
    metavar="FILE",
    help="Candidates for a model without a word list: a file with a word per line.",
)
@_as_json
def similar(
    model: str,
    words: tuple[str, ...],
    positive: tuple[str, ...],
    negative: tuple[str, ...],
    count: int,
    restrict: int,
    vocabulary: str | None,
    as_json: bool,
) -> None:
    """Print the words whose vectors have the highest cosine with the vector of WORD, or with the sum of several vectors.

    The given words themselves are left out.
    """
    from shoal.workers.evaluation import nearest_words

    added = [*words, *positive]
    if not added and not negative:
        raise click.UsageError("give a WORD, or --positive or --negative words")
    with _failures(), BadRowReport() as bad_rows:
        if vocabulary is None:
            candidates = _candidates(model, restrict, None)
        else:
            candidates = _file_candidates(model, vocabulary, restrict, bad_rows, [*added, *negative])
        found = nearest_words(candidates, added, negative, count)
    if as_json:
        print_json({"model": model, "positive": added, "negative": list(negative), "words": [asdict(one) for one in found]})
    else:
        print_table(["word", "cosine"], [[one.word, _decimals(one.cosine)] for one in found], text_columns=1)
    _fail_for(bad_rows)


def _candidates(model: str, restrict: int, words: Iterable[str] | None) -> WordCandidates:
    """The first words of a table, or all of `words` as a model embeds them."""
    from shoal.workers.evaluation import embedded_candidates, is_table, table_candidates

    if is_table(model):
        return table_candidates(model, restrict)
    if words is None:
        raise click.UsageError(f"model {model!r} has no word list: give candidates with --vocabulary FILE")
    return embedded_candidates(_loaded(model), words)


def _file_candidates(
    model: str, vocabulary: str, restrict: int, bad_rows: BadRowReport, first: Sequence[str] = ()
) -> WordCandidates:
    """The words in `first` and then those of a file, as a model embeds them."""
    from shoal.cluster.jobs.evaluation.word_files import read_words
    from shoal.workers.evaluation import embedded_candidates, is_table

    if is_table(model):
        raise click.UsageError(f"--vocabulary is for models without a word list; {model!r} has one")
    words = read_words(vocabulary, bad_rows.add)
    return embedded_candidates(_loaded(model), [*first, *words[: restrict or None]])


def _loaded(model: str) -> Any:
    from shoal.workers.encoding import load_model

    return load_model(model, threads=available_cores())


def _fail_for(bad_rows: BadRowReport) -> None:
    """Ends a command that has printed its result with exit code 1 if it could not use some rows."""
    if bad_rows.count:
        raise Failure(f"{rows_were(bad_rows.count)} not read: {reasons_in_words(bad_rows.kinds)}")


@contextmanager
def _failures() -> Iterator[None]:
    """Raises errors of the evaluation and of models as Failure: one line and exit code 1."""
    from shoal.workers.encoding import ModelError
    from shoal.workers.evaluation import EvaluationError

    try:
        yield
    except (EvaluationError, ModelError) as error:
        raise Failure(str(error)) from error


def _stats(score: QuestionScore) -> dict[str, Any]:
    return asdict(score) | {"accuracy": score.accuracy, "coverage": score.coverage}


def _row(name: str, score: QuestionScore) -> list[str]:
    accuracy = "-" if score.accuracy is None else f"{score.accuracy:.1%}"
    return [name, accuracy, str(score.right), str(score.answered), str(score.asked), f"{score.coverage:.1%}"]


def _decimals(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
