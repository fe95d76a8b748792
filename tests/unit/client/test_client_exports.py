import inspect
import pickle
import subprocess
import sys

import shoal.client
from shoal.client import Token, WriteResult, embeddings, errors, processes, types

NAMES = """
AsyncClient Cancelled Client ClusterStatus CollectionExists CollectionInfo CollectionNotFound Coverage CoverageTooLow
DeadlineExceeded DimensionMismatch Document DocumentNotFound EmbedProgress EmbedTiming Embedding Embeddings Explanation
FailedDocument GenerationState Hit InternalError InvalidArgument InvalidModel Limits LoadInfo MessageTooLarge NotFound
Overloaded PermissionDenied PoolInfo ProcessInfo ProcessKind ProcessState QueryCacheInfo Refusal RetryPolicy
SearchResult ServerInfo ShardInfo ShoalError StoredDocument Timings Token Unauthenticated Unavailable Unsupported
UploadProgress UpsertSummary VersionConflict WorkerInfo WriteResult
"""
PUBLIC = NAMES.split()


def test_the_public_names_are_frozen_and_sorted():
    assert shoal.client.__all__ == PUBLIC == sorted(PUBLIC)
    assert all(hasattr(shoal.client, name) for name in PUBLIC)


def test_every_error_and_every_dataclass_is_public():
    for module in (embeddings, errors, processes, types):
        own = {
            name for name, value in vars(module).items() if inspect.isclass(value) and value.__module__ == module.__name__
        }
        assert own <= set(PUBLIC)


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
