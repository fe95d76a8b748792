"""The packages that others use have a face: `__all__`, which is frozen here. A change of it is a change of an interface."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator

import pytest

from support.source_tree import ROOT, parsed, python_files, shown

FACES = {
    "shoal.cluster.jobs.evaluation": ("read_pairs", "read_questions", "read_words"),
    "shoal.cluster.jobs.word2vec": (
        "LearnerPoolSettings",
        "TableOutput",
        "run_word2vec",
    ),
    "shoal.console": (
        "BadRowReport",
        "FAILED",
        "Failure",
        "FilePath",
        "HELP_SETTINGS",
        "INTERRUPTED",
        "ProgressReporter",
        "absolute_model_name",
        "cell",
        "duration",
        "note_line",
        "print_error",
        "print_event",
        "print_fields",
        "print_json",
        "print_note",
        "print_table",
        "shorten",
        "show_error",
    ),
    "shoal.records": (
        "BadRecord",
        "BadRow",
        "BareRow",
        "Damaged",
        "Fields",
        "InputError",
        "InputFile",
        "Record",
        "RecordLimits",
        "RejectedRow",
        "RejectsInOrder",
        "RepeatedIdNotes",
        "RepeatedIds",
        "Row",
        "TextFields",
        "USUAL_FIELDS",
        "as_given",
        "check_record",
        "damage_reason",
        "find_inputs",
        "first_row_fault",
        "has_rows",
        "header_fault",
        "is_plain",
        "is_unicode",
        "is_utf8",
        "null_messages",
        "open_input",
        "parquet_group_bytes",
        "parquet_row_count",
        "read_bare_table",
        "read_file",
        "read_lines",
        "read_rows",
        "read_table",
        "reasons_in_words",
        "row_message",
        "rows_were",
        "shown_path",
        "suffix_of",
        "text_chunks",
    ),
    "shoal.workers.encoding": (
        "AS_DOCUMENT",
        "AS_QUERY",
        "BatchBounds",
        "DeviceLost",
        "EmbeddingModel",
        "EncodeOptions",
        "Encoded",
        "EncoderActor",
        "EncoderEngine",
        "EngineState",
        "InferenceThreads",
        "Isolated",
        "LONGEST_WORD",
        "ModelError",
        "Precision",
        "Role",
        "Tokenized",
        "Truncation",
        "WORD_RULE",
        "composed",
        "cut_word",
        "end_process",
        "load_model",
        "load_pretrained",
        "lowered",
        "normal_form",
        "packaged_folder",
        "parse_spec",
        "plan_batches",
        "raw_words_of",
        "split_precision",
    ),
    "shoal.workers.encoding.word_vectors": (
        "Pooling",
        "TableFormat",
        "WordFolderConfig",
        "WordTable",
        "WordVectorError",
        "check_output",
        "from_keyed_vectors",
        "is_word_folder",
        "read_word_table",
        "save_table",
        "to_keyed_vectors",
    ),
    "shoal.workers.evaluation": (
        "EvaluationError",
        "Question",
        "QuestionScore",
        "QuestionSection",
        "WordCandidates",
        "WordPair",
        "embedded_candidates",
        "is_table",
        "nearest_words",
        "score_analogies",
        "score_similarity",
        "table_candidates",
        "words_of",
    ),
    "shoal.workers.indexing": (
        "DamagedFile",
        "IndexSpec",
        "IndexWorkerActor",
        "ManifestInfo",
        "SealedInfo",
        "SegmentInfo",
        "Storage",
        "StoredFile",
        "checksum_of",
        "collect_garbage",
        "manifest_message",
        "seal",
        "segment_of",
        "spec_message",
    ),
    "shoal.workers.runtime": (
        "CONTROL_GROUPS",
        "CONTROL_GROUP_ROOT",
        "INTERNAL_MESSAGE_BYTES",
        "InternalCredentials",
        "InternalServer",
        "LockHeld",
        "LoopThread",
        "MalformedMessage",
        "MessageParser",
        "available_cores",
        "compiled",
        "error_line",
        "first_error_line",
        "flow_control_options",
        "freeze_live_objects",
        "group_folders",
        "inlined",
        "internal_options",
        "is_partial",
        "limit_tokenizer_threads",
        "lock_file",
        "locked_folder",
        "open_public_port",
        "partial_name",
        "partial_siblings",
        "receive",
        "refusing_malformed",
        "return_large_buffers",
        "sync_folder",
        "threads_of",
        "typed_error_line",
        "whole_file",
    ),
    "shoal.workers.training.word2vec": (
        "AUTO",
        "Assignment",
        "AveragingSettings",
        "CBOW_LEARNING_RATE",
        "CHECKPOINT_EVERY_S",
        "CPU",
        "CUDA",
        "CorpusFile",
        "CorpusSettings",
        "CorpusStats",
        "CorpusUnit",
        "CpuLearner",
        "DEVICES",
        "EncodedCorpus",
        "Floats",
        "Ids",
        "LEARNING_RATE",
        "Learner",
        "LearnerActor",
        "LearnerFactory",
        "LearnerHost",
        "LearnerPool",
        "LearnersLost",
        "LocalLearnerPool",
        "MachineMemory",
        "MergeResult",
        "MergeScheme",
        "PoolLearner",
        "Rounds",
        "RoundsPlan",
        "SpanLease",
        "SyncResult",
        "Tables",
        "TorchLearner",
        "TrainResult",
        "TrainingError",
        "TrainingListeners",
        "TrainingStats",
        "TrainingSummary",
        "UnitReader",
        "UnreadRow",
        "Vocabulary",
        "WORK_SUFFIX",
        "Word2VecSettings",
        "build_vocabulary",
        "cpu_learner",
        "cuda_learner",
        "encode_unit",
        "merge_counts",
        "missing_cuda",
        "plan_units",
        "scan_unit",
        "train_word2vec",
        "training_device",
        "utf8_file",
    ),
}


@pytest.mark.parametrize("package", FACES)
def test_a_face_exports_the_agreed_names(package: str) -> None:
    assert tuple(sorted(importlib.import_module(package).__all__)) == FACES[package]


@pytest.mark.parametrize("package", FACES)
def test_all_names_of_a_face_exist(package: str) -> None:
    face = importlib.import_module(package)
    assert [name for name in FACES[package] if getattr(face, name, None) is None] == []


@pytest.mark.parametrize("package", [package for package in FACES if not package.startswith("shoal.cluster")])
def test_other_packages_import_a_package_through_its_face_only(package: str) -> None:
    # A face may lie in a package that has one itself, and whose modules may import all of it.
    own = ROOT / ("workers" if package.startswith("shoal.workers") else "client") / "/".join(package.split(".")[:3])
    below = {
        f"{shown(path)}: {module}"
        for path in python_files("cluster", "workers", "client", "benchmarks")
        for module in imported_modules(parsed(path))
        if module.startswith(f"{package}.") and module not in FACES and not path.is_relative_to(own)
    }
    assert below == set()


def imported_modules(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_documented_names_are_imported_by_faces() -> None:
    documented = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    imported = set(re.findall(r"^from (shoal\.(?:cluster|workers)[\w.]*) import", documented, flags=re.MULTILINE))
    assert imported and imported <= set(FACES)
