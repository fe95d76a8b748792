import json
from pathlib import Path
from typing import Any

import pytest

from shoal.workers.encoding.model import ModelError, Role
from shoal.workers.encoding.transformer.sentence_config import read_sentence_config
from shoal.workers.encoding.transformer.token_limits import StatedLimits

OLD = "sentence_transformers.models."
NEW = "sentence_transformers.sentence_transformer.modules.pooling."


def write(folder: Path, files: dict[str, Any]) -> Path:
    for name, value in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value))
    return folder


NEEDED = "expected Transformer, Pooling[, Dense, LayerNorm, Normalize] or StaticEmbedding[, Normalize]"


def modules(*kinds: str, prefix: str = OLD, transformer: str = "") -> list[dict[str, str]]:
    paths = {"Transformer": transformer, "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    return [{"type": prefix + kind, "path": paths.get(kind, f"9_{kind}")} for kind in kinds]


def dense(config: dict[str, Any], weights: bool = True) -> dict[str, Any]:
    """A model with a dense layer whose config has these fields instead of valid ones."""
    return {
        "modules.json": modules("Transformer", "Pooling", "Dense", "Normalize"),
        "1_Pooling/config.json": {"pooling_mode": "mean"},
        "9_Dense/config.json": {"in_features": 32, "out_features": 16, **config},
    } | ({"9_Dense/model.safetensors": ""} if weights else {})


def stated(settings: dict[str, Any]) -> dict[str, Any]:
    """A model whose transformer has these settings."""
    return {
        "modules.json": modules("Transformer", "Pooling"),
        "1_Pooling/config.json": {"pooling_mode": "mean"},
        "sentence_bert_config.json": settings,
    }


def test_a_plain_folder_is_mean_pooled_and_normalised(tmp_path: Path) -> None:
    config = read_sentence_config(tmp_path, "m")
    assert (config.pooling, config.normalize, config.limits, config.lower_case) == (("mean",), True, StatedLimits(), False)
    assert [config.prompt(role) for role in Role] == ["", ""]


def test_old_files_are_read(tmp_path: Path) -> None:
    pooling = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    files = {
        "modules.json": modules("Transformer", "Pooling", "Normalize", transformer="0_Transformer"),
        "1_Pooling/config.json": pooling,
        "0_Transformer/sentence_roberta_config.json": {"max_seq_length": 77, "do_lower_case": True},
    }
    config = read_sentence_config(write(tmp_path, files), "m")
    assert (config.transformer, config.pooling, config.normalize) == ("0_Transformer", ("cls",), True)
    assert (config.limits, config.lower_case) == (StatedLimits(77), True)


def test_files_of_version_six_are_read(tmp_path: Path) -> None:
    files = {
        "modules.json": modules("Transformer", "Pooling", prefix=NEW),
        "1_Pooling/config.json": {"pooling_mode": ["lasttoken", "mean"], "include_prompt": True},
        "sentence_bert_config.json": {"transformer_task": "feature-extraction"},
    }
    config = read_sentence_config(write(tmp_path, files), "m")
    assert (config.pooling, config.normalize, config.limits) == (("lasttoken", "mean"), False, StatedLimits())


def test_a_plain_language_model_is_pooled_by_its_last_token(tmp_path: Path) -> None:
    config = {"architectures": ["Qwen3ForCausalLM"]}
    assert read_sentence_config(write(tmp_path, {"config.json": config}), "m").pooling == ("lasttoken",)
    both_ways = {**config, "is_causal": False}
    assert read_sentence_config(write(tmp_path, {"config.json": both_ways}), "m").pooling == ("mean",)


def test_modules_after_pooling_are_read_in_order(tmp_path: Path) -> None:
    kinds = modules("Transformer", "Pooling", "Dropout", "Normalize", "Dense", "LayerNorm", "Normalize")
    layer = {"9_LayerNorm/config.json": {"dimension": 16}, "9_LayerNorm/model.safetensors": ""}
    files = dense({"use_residual": True, "bias": False}) | layer | {"modules.json": kinds}
    config = read_sentence_config(write(tmp_path, files), "m")
    assert config.normalize
    assert [module.settings() for module in config.modules] == [
        ["Normalize", 0, 0, True, "Identity", False],
        ["Dense", 32, 16, False, "Tanh", True],
        ["LayerNorm", 16, 16, True, "Identity", False],
    ]


def test_each_setting_that_decides_vectors_is_among_the_settings(tmp_path: Path) -> None:
    pooled = {"modules.json": modules("Transformer", "Pooling", "Normalize")}
    variants: list[dict[str, Any]] = [
        {},
        {"1_Pooling/config.json": {"pooling_mode": "mean", "include_prompt": False}},
        {"config_sentence_transformers.json": {"prompts": {"query": "Q: "}}},
        {"config_sentence_transformers.json": {"truncate_dim": 8}},
        {"sentence_bert_config.json": {"do_lower_case": True}},
        dense({}),
        dense({"activation_function": "torch.nn.modules.linear.Identity"}),
    ]
    seen = []
    for number, variant in enumerate(variants):
        files = pooled | {"1_Pooling/config.json": {"pooling_mode": "mean"}} | variant
        seen.append(json.dumps(read_sentence_config(write(tmp_path / str(number), files), "m").settings()))
    assert len(set(seen)) == len(variants)
    # Fingerprints of models without newer settings stay the same.
    assert set(json.loads(seen[0])) == {"pooling", "normalize", "lower_case", "document_prompt", "query_prompt"}


@pytest.mark.parametrize(
    ("saved", "document", "query"),
    [
        ({}, "", ""),
        ({"prompts": {"query": "Q: ", "document": "D: "}}, "D: ", "Q: "),
        ({"prompts": {"query": "Q: ", "passage": "P: "}}, "P: ", "Q: "),
        ({"prompts": {"query": "Q: ", "document": "", "passage": "P: "}}, "P: ", "Q: "),
        ({"prompts": {"query": "Q: "}, "default_prompt_name": "query"}, "Q: ", "Q: "),
        ({"prompts": {"query": "Q: ", "document": ""}, "default_prompt_name": "query"}, "", "Q: "),
        ({"prompts": {"query": None, "other": "O: "}, "default_prompt_name": "other"}, "O: ", ""),
    ],
)
def test_prompts_are_found_by_role(tmp_path: Path, saved: dict[str, Any], document: str, query: str) -> None:
    config = read_sentence_config(write(tmp_path, {"config_sentence_transformers.json": saved}), "m")
    assert (config.prompt(Role.DOCUMENT), config.prompt(Role.QUERY)) == (document, query)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (
            {"modules.json": modules("Transformer", "Pooling", "CNN")},
            "module 'CNN' (9_CNN) of modules.json is not supported",
        ),
        (
            {"modules.json": modules("Transformer")},
            "modules.json lists Transformer, " + NEEDED,
        ),
        ({"modules.json": "[]"}, "modules.json lists nothing, " + NEEDED),
        ({"modules.json": "{}"}, "modules.json holds dict, not a list"),
        ({"modules.json": [{"type": 3}]}, "modules.json has an entry without type and path: {'type': 3}"),
        ({"modules.json": "["}, "modules.json cannot be read: Expecting value: line 1 column 2 (char 1)"),
        (
            {"modules.json": modules("Transformer", "Pooling", transformer="../elsewhere")},
            "module path '../elsewhere' of modules.json leaves the model folder",
        ),
        ({"modules.json": modules("Transformer", "Pooling")}, "1_Pooling/config.json is missing or empty"),
        (
            {"modules.json": modules("Transformer", "Pooling"), "1_Pooling/config.json": {"pooling_mode": "median"}},
            "pooling mode 'median' of 1_Pooling/config.json is not supported",
        ),
        (
            {"modules.json": modules("Transformer", "Dense", "Pooling")},
            "modules.json lists Transformer, Dense, Pooling, " + NEEDED,
        ),
        ({"modules.json": modules("StaticEmbedding", "Pooling")}, "modules.json lists StaticEmbedding, Pooling, " + NEEDED),
        (dense({"in_features": 0}), "in_features of 9_Dense/config.json must be an integer of at least 1, not 0"),
        (dense({"out_features": None}), "out_features of 9_Dense/config.json must be an integer of at least 1, not None"),
        (
            dense({"activation_function": "mine.Swish"}),
            "activation_function 'mine.Swish' of 9_Dense/config.json is not supported",
        ),
        (
            dense({"module_input_name": "token_embeddings"}),
            "module_input_name of 9_Dense/config.json is 'token_embeddings', only 'sentence_embedding' is supported",
        ),
        (dense({}, weights=False), "9_Dense/model.safetensors is missing"),
        (
            dense({}) | {"modules.json": modules("StaticEmbedding", "Dense")},
            "9_Dense of modules.json is not supported after StaticEmbedding",
        ),
        (
            {"config_sentence_transformers.json": {"truncate_dim": -1}},
            "truncate_dim of config_sentence_transformers.json must be an integer of at least 1, not -1",
        ),
        (
            stated({"transformer_task": "fill-mask"}),
            "a transformer for 'fill-mask' with output 'last_hidden_state' is not supported",
        ),
        (
            stated({"modality_config": {"text": {"method_output_name": "pooler_output"}}}),
            "a transformer for 'feature-extraction' with output 'pooler_output' is not supported",
        ),
        (stated({"max_seq_length": 0}), "max_seq_length must be an integer of at least 1, not 0"),
        (
            {"config_sentence_transformers.json": {"prompts": {"query": 1}}},
            "prompts of config_sentence_transformers.json do not map names to texts",
        ),
        (
            {"config_sentence_transformers.json": {"default_prompt_name": "x"}},
            "default_prompt_name of config_sentence_transformers.json is 'x', which is not one of its prompts",
        ),
    ],
)
def test_unsupported_settings_are_named(tmp_path: Path, files: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_sentence_config(write(tmp_path, files), "m")
    assert str(caught.value) == f"model 'm': {reason}"
