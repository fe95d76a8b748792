"""The command that embeds texts: its arguments, or the lines of standard input."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import click

from shoal.client import embeddings, types
from shoal.client._transport.embedding import DEFAULT_BATCH_TEXTS
from shoal.client.cli.files.vector_file import VectorFile
from shoal.client.cli.session import Session, remote
from shoal.client.errors import ShoalError
from shoal.console import Failure, FilePath, absolute_model_name, print_error, print_json, shorten

SHOWN_NUMBERS = 4


@click.command(
    short_help="Turn texts into vectors.",
    epilog=(
        "\b\nExamples:\n  shoal embed all-MiniLM-L6-v2 'tidal locking' --role query --json\n"
        "  shoal embed all-MiniLM-L6-v2 - --output vectors.npy < texts.txt"
    ),
)
@click.argument("model")
@click.argument("texts", nargs=-1, metavar="[TEXT]... | -")
@click.option(
    "--role",
    type=click.Choice(["document", "query"]),
    default="document",
    show_default=True,
    help="Role whose prompt is put before each text.",
)
@click.option("--prompt", help="Text to put before each text instead of the role's prompt.")
@click.option(
    "--dimensions",
    type=click.IntRange(min=0),
    default=0,
    help="Keep only this many leading numbers of each vector; 0 keeps all.",
)
@click.option(
    "--normalize/--no-normalize",
    default=None,
    help="Make vectors unit length, or do not.  [default: as the model's files say]",
)
@click.option(
    "--truncation",
    type=click.Choice(["end", "start", "refuse"]),
    default="end",
    show_default=True,
    help="Where a text longer than the model reads is cut; refuse makes it an error.",
)
@click.option("--float16", is_flag=True, help="Vectors in float16 instead of float32.")
@click.option("--output", type=FilePath(), help="File (.npy) to write the vectors to, one row per text.")
@remote
def embed(
    session: Session,
    model: str,
    texts: tuple[str, ...],
    role: types.Role,
    prompt: str | None,
    dimensions: int,
    normalize: bool | None,
    truncation: embeddings.Truncation,
    float16: bool,
    output: Path | None,
) -> None:
    """Embed each TEXT with MODEL, or each line of standard input if there is no TEXT or if it is '-'.

    With --json, each text gives one line of JSON. A text that cannot be embedded is reported on stderr; its row in --output
    is zero, and the exit code is 1.
    """
    options: dict[str, Any] = {
        "role": role,
        "prompt": prompt,
        "dimensions": dimensions,
        "normalize": normalize,
        "truncation": truncation,
        "vector_type": "float16" if float16 else "float32",
    }
    # Bytes that are not UTF-8 become lone surrogates; the client refuses the texts that have some, and only those.
    lines = (line.rstrip(b"\r\n").decode("utf-8", "surrogateescape") for line in sys.stdin.buffer)
    wanted = lines if texts in ((), ("-",)) else texts
    count = failed = tokens = 0
    with ExitStack() as stack:
        file = None if output is None else stack.enter_context(VectorFile(output))
        for block in _blocks(session, absolute_model_name(model), wanted, options):
            if file is not None:
                file.append(block.vectors)
            if session.json and file is None:
                _print_lines(block)
            elif file is None:
                _print_beginnings(block)
            for index, error in sorted(block.errors.items()):
                print_error(f"text {block.start + index + 1}: {_reason(error)}")
            count += len(block)
            failed += len(block.errors)
            tokens += int(block.tokens.sum())
    if output is not None and session.json:
        print_json({"output": str(output), "texts": count, "failed": failed, "tokens": tokens})
    elif output is not None:
        click.echo(f"{count} vectors in {output}, {tokens} tokens")
    if failed:
        raise Failure(f"{failed} of {count} texts have no vector")


def _blocks(session: Session, model: str, texts: Iterable[str], options: dict[str, Any]) -> Iterator[embeddings.Embeddings]:
    """A few texts are one call, which goes before bulk work. Many are a stream, and so are a few if one cannot be sent: a
    stream still answers the others."""
    waiting = iter(texts)
    first = [text for _, text in zip(range(DEFAULT_BATCH_TEXTS), waiting, strict=False)]
    if not first:
        raise Failure("no texts to embed")
    more = next(waiting, None)
    if more is None and len(first) <= 16 and not any(_unsendable(text) for text in first):
        yield session.client.embed(model, first, **options)
        return
    following = [] if more is None else chain([more], waiting)
    yield from session.client.embed_many(
        model, chain(first, following), progress=sys.stderr.isatty() and not session.json, **options
    )


def _unsendable(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _print_lines(block: embeddings.Embeddings) -> None:
    for index, vector in enumerate(block.vectors):
        error = block.errors.get(index)
        print_json(
            {
                "text": block.start + index,
                "vector": None if error else vector.tolist(),
                "tokens": int(block.tokens[index]),
                "truncated": index in block.truncated,
                "error": None if error is None else str(error),
            }
        )


def _print_beginnings(block: embeddings.Embeddings) -> None:
    for index, vector in enumerate(block.vectors):
        if index in block.errors:
            continue
        numbers = " ".join(f"{number: .4f}" for number in vector[:SHOWN_NUMBERS])
        norm = math.hypot(*vector.tolist())
        cut = ", truncated" if index in block.truncated else ""
        click.echo(
            f"{block.start + index + 1}: [{numbers} ...] {len(vector)} dimensions, norm {norm:.3f}, "
            f"{block.tokens[index]} tokens{cut}"
        )


def _reason(error: ShoalError) -> str:
    """The message without the name of the field: its index in the request is not the text's number in the input."""
    message = str(error)
    field, _, reason = message.partition(": ")
    return shorten(reason if reason and " " not in field else message.removeprefix(f"{error.field} is "))
