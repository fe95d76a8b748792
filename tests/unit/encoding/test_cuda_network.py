"""The CUDA network's own logic, with a stand-in for the kernel where there is no GPU; with one, the real thing too."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import shoal.workers.encoding.cuda_network as cuda_network  # noqa: E402
from shoal.workers.encoding.cuda_network import CudaNetwork, missing_varlen  # noqa: E402
from shoal.workers.encoding.encoder_weights import EncoderWeights, encoder_weights  # noqa: E402
from shoal.workers.encoding.flat_layer import finish_layer  # noqa: E402
from shoal.workers.encoding.flat_network import FlatNetwork  # noqa: E402
from shoal.workers.encoding.network import FlatBatch  # noqa: E402

VOCABULARY = 100
SIZES: dict[str, Any] = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48}


def telling(model: Any) -> Any:
    """With weights so large that leaving anything out would be seen; the usual initial ones hardly change their input."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.4)
    return model.eval()


def bert_weights() -> EncoderWeights:
    from transformers import BertConfig, BertModel

    torch.manual_seed(5)
    config = BertConfig(vocab_size=VOCABULARY, max_position_embeddings=256, num_hidden_layers=2, **SIZES)
    weights = encoder_weights(telling(BertModel(config)))
    assert weights is not None
    return weights


def modernbert_weights() -> EncoderWeights:
    from transformers import ModernBertConfig, ModernBertModel

    torch.manual_seed(5)
    config = ModernBertConfig(vocab_size=VOCABULARY, local_attention=8, pad_token_id=0, num_hidden_layers=3, **SIZES)
    weights = encoder_weights(telling(ModernBertModel(config)))
    assert weights is not None
    return weights


def batch(*lengths: int, typed: bool = False) -> FlatBatch:
    rng = np.random.default_rng(sum(lengths))
    ids = [rng.integers(0, VOCABULARY, size=length).astype(np.int32) for length in lengths]
    return FlatBatch.of(ids, [np.ones_like(one) if typed else None for one in ids])


def formula(
    q: Any, k: Any, v: Any, starts: Any, keys: Any, longest: int, _: int, *, scale: float, window_size: Any, **__: Any
) -> Any:
    """varlen_attn by the formula, as its documentation tells."""
    assert starts is keys and starts.dtype is torch.int32 and longest >= int(starts.diff().max())
    out = torch.zeros_like(q)
    for start, stop in zip(starts.tolist(), starts.tolist()[1:], strict=False):
        one = [part[start:stop].transpose(0, 1) for part in (q, k, v)]
        scores = one[0] @ one[1].transpose(1, 2) * scale
        places = torch.arange(stop - start)
        if window_size != (-1, -1):
            scores = scores.masked_fill((places[:, None] - places[None, :]).abs() > window_size[0], float("-inf"))
        out[start:stop] = (scores.softmax(-1) @ one[2]).transpose(0, 1)
    return out


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch.nn.attention.varlen as varlen

    monkeypatch.setattr(varlen, "varlen_attn", formula)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: None)


def on_cpu(weights: EncoderWeights) -> CudaNetwork:
    return CudaNetwork(weights, torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("make", [bert_weights, modernbert_weights])
def test_it_computes_what_the_cpu_network_computes(make: Any, without_gpu: None) -> None:
    weights = make()
    wanted = FlatNetwork(weights, torch.float32, threads=1)
    network = on_cpu(weights)
    for lengths in ((5,), (3, 30, 17), (40, 40, 1)):
        for typed in (False, True):
            some = batch(*lengths, typed=typed)
            torch.testing.assert_close(network.hidden(some), wanted.hidden(some), atol=3e-5, rtol=0)


def test_what_cannot_be_tuned_is_left_as_it_was_and_told(without_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    network = on_cpu(bert_weights())
    some = batch(12, 4)
    before = network.hidden(some)

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no compiler on this machine")

    monkeypatch.setattr(torch, "compile", broken)
    network.tune()
    assert [note.split(":")[0] for note in network.tuning] == ["compiled layers failed", "recorded small batches failed"]
    assert torch.equal(network.hidden(some), before)


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.parametrize("make", [bert_weights, modernbert_weights])
def test_a_layer_is_compiled_once_for_batches_of_all_sizes(
    make: Any, without_gpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    weights = make()
    plain, network = on_cpu(weights), on_cpu(weights)
    network._compile()
    network.hidden(batch(12, 4))
    # A compilation amid the service would hold up whoever waits, for seconds.
    with torch._dynamo.config.patch(error_on_recompile=True):
        for lengths in ((5,), (3, 30, 17), (40, 40, 1), (200, 100)):
            some = batch(*lengths)
            torch.testing.assert_close(network.hidden(some), plain.hidden(some), atol=3e-5, rtol=0)


def test_a_compiled_layer_knows_its_width(without_gpu: None) -> None:
    torch.compiler.reset()
    network = on_cpu(bert_weights())
    shapes: list[Any] = []

    def backend(graph: Any, _: Any) -> Any:
        values = [node.meta["example_value"] for node in graph.graph.nodes if node.op == "placeholder"]
        shapes.extend(value.shape for value in values if isinstance(value, torch.Tensor))
        return graph

    for layer in network._layers:
        layer.finish_with = torch.compile(finish_layer, dynamic=True, backend=backend)
    network.hidden(batch(12, 4))
    # Kernels for rows of any width are slower ones; how many tokens there are is all that may change.
    known = [shape for shape in shapes if shape and all(isinstance(size, int) for size in shape)]
    assert len(known) == 10


def test_a_compiled_layer_that_computes_something_else_is_refused(
    without_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = on_cpu(bert_weights())
    some = batch(12, 4)
    before = network.hidden(some)
    monkeypatch.setattr(torch, "compile", lambda _, **__: lambda x, mixed, weights, shape: x + 1)
    network.tune()
    assert network.tuning[0].startswith("compiled layers refused")
    assert torch.equal(network.hidden(some), before)


def test_a_compiled_layer_is_kept_only_if_it_is_faster(without_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    network = on_cpu(bert_weights())
    seconds = iter([2.0, 1.0, 1.0, 1.0])
    monkeypatch.setattr(network, "_seconds", lambda _: next(seconds))
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    network.tune()
    assert network.tuning[0] == "compiled layers 2.00 x"


def test_this_torch_has_the_attention_that_is_used() -> None:
    assert missing_varlen() == ""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("make", [bert_weights, modernbert_weights])
def test_on_a_gpu_states_are_those_of_the_cpu_and_no_text_sees_another(make: Any) -> None:
    weights = make()
    device = torch.device("cuda")
    assert cuda_network.varlen_reason(weights, device, torch.bfloat16) == ""
    network = CudaNetwork(weights, device, torch.bfloat16)
    network.tune()
    assert not any("refused" in note for note in network.tuning)
    wanted = FlatNetwork(weights, torch.float32, threads=1)
    for lengths in ((5,), (3, 30, 17), (40, 40, 1), (12, 12, 12, 12)):
        some = batch(*lengths)
        got = network.hidden(some).float().cpu()
        assert torch.nn.functional.cosine_similarity(got, wanted.hidden(some)).min() > 0.999
