import importlib
import inspect
import pickle
import subprocess
import sys

import pytest

import shoal.client
from shoal.client import Token, WriteResult, embeddings, errors, keys, processes, types

NAMES = """
AccessRole ApiKeyInfo AsyncClient Cancelled Client ClusterStatus CollectionExists CollectionInfo CollectionNotFound
Coverage CoverageTooLow DeadlineExceeded DimensionMismatch Document DocumentNotFound EmbedProgress EmbedTiming
Embedding Embeddings Explanation FailedDocument GenerationState Hit InternalError InvalidArgument InvalidModel
KeyNotFound Limits LoadInfo MessageTooLarge ModelNotServed NewApiKey NotEmbedded NotFound Overloaded
PermissionDenied PoolInfo ProblemInfo ProcessInfo ProcessKind ProcessState QueryCacheInfo Refusal RetryPolicy
SearchResult ServerInfo ShardInfo ShoalError StoredDocument Timings Token Unauthenticated Unavailable Unsupported
UploadProgress UpsertSummary VersionConflict WorkerInfo WriteResult
"""
PUBLIC = NAMES.split()

# What could be imported before the folders of the client were moved (commit 1f87330), and from where.
FORMER_NAMES = {
    "shoal.client": """
        AsyncClient Cancelled Client ClusterStatus CollectionExists CollectionInfo CollectionNotFound Coverage CoverageTooLow
        DeadlineExceeded DimensionMismatch Document DocumentNotFound EmbedProgress EmbedTiming Embedding Embeddings
        Explanation FailedDocument GenerationState Hit InternalError InvalidArgument InvalidModel Limits LoadInfo
        MessageTooLarge NotFound Overloaded PermissionDenied PoolInfo QueryCacheInfo Refusal RetryPolicy SearchResult
        ServerInfo ShardInfo ShoalError StoredDocument Timings Token Unauthenticated Unavailable Unsupported UploadProgress
        UpsertSummary VersionConflict WorkerInfo WriteResult
    """,
    "shoal.client.async_client": "AsyncClient",
    "shoal.client.cli": "main",
    "shoal.client.client": "Client",
    "shoal.client.embeddings": "EmbedProgress EmbedTiming Embeddings Truncation VectorType",
    "shoal.client.errors": """
        BY_REASON BY_STATUS Cancelled CollectionExists CollectionNotFound CoverageTooLow DETAIL_KEY DeadlineExceeded
        DimensionMismatch DocumentNotFound InternalError InvalidArgument InvalidModel MessageTooLarge NotFound Overloaded
        PermissionDenied ShoalError Unauthenticated Unavailable Unsupported VersionConflict error_from_detail
        error_from_status
    """,
    "shoal.client.samples": "documents",
    "shoal.client.types": """
        ClusterStatus CollectionInfo Coverage Document Embedding EmptyText Explanation FailedDocument GenerationState Hit
        IndexKind Limits LoadInfo Metric PoolInfo QueryCacheInfo Refusal Role SearchResult ServerInfo ShardInfo
        StoredDocument Timings Token UploadProgress UpsertSummary Vector WorkerInfo WriteResult
    """,
}


def test_the_public_names_are_frozen_and_sorted():
    assert shoal.client.__all__ == PUBLIC == sorted(PUBLIC)
    assert all(hasattr(shoal.client, name) for name in PUBLIC)


def test_every_error_and_every_dataclass_is_public():
    for module in (embeddings, errors, keys, processes, types):
        own = {
            name for name, value in vars(module).items() if inspect.isclass(value) and value.__module__ == module.__name__
        }
        assert own <= set(PUBLIC)


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in FORMER_NAMES.items() for name in names.split()]
)
def test_former_names_can_be_imported_from_where_they_were(module: str, name: str):
    found = getattr(importlib.import_module(module), name)
    assert found is getattr(shoal.client, name, found)


def test_a_renamed_class_keeps_its_former_name():
    assert shoal.client.WorkerInfo is shoal.client.ProcessInfo


def test_the_library_and_the_command_line_import_nothing_heavy():
    code = (
        "import sys, shoal.client.cli; heavy = {'ray', 'torch', 'pyarrow', 'transformers', 'faiss', 'sqlalchemy', "
        "'shoal.cluster', 'shoal.workers'}; print(*sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.strip(), result.stderr) == (0, "", "")


def test_a_token_is_a_string_with_results():
    token = Token("1.2", (WriteResult("a", 1, True),))
    assert token == "1.2" and f"{token}" == "1.2"
    copy = pickle.loads(pickle.dumps(token))
    assert (copy, copy.results) == (token, token.results)
