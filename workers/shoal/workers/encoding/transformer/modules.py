"""The modules of sentence-transformers between pooling and normalising: dense layers and layer norms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from shoal.workers.encoding.model import ModelError
from shoal.workers.encoding.transformer.sentence_files import ACTIVATIONS, ModuleConfig
from shoal.workers.runtime import typed_error_line

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "Identity": nn.Identity,
    "Tanh": nn.Tanh,
    "ReLU": nn.ReLU,
    "GELU": nn.GELU,
    "SiLU": nn.SiLU,
    "Sigmoid": nn.Sigmoid,
}
assert set(_ACTIVATIONS) == set(ACTIVATIONS)


class Modules:
    """The modules of a model, in order, in float32."""

    def __init__(
        self, folder: Path, modules: Sequence[ModuleConfig], name: str, dimension: int, device: torch.device
    ) -> None:
        """`folder` is the model's folder, `dimension` the length of a pooled vector.

        Raises ModelError when weights are missing, or do not have the shapes that the modules' configs state.
        """
        self.dimension = dimension
        """Length of an output vector."""
        self._steps: list[nn.Module] = []
        for module in modules:
            try:
                self._steps.append(self._built(folder, module, name).to(device).eval())
            except (RuntimeError, OSError, SafetensorError) as error:
                raise ModelError(name, f"the weights of {module.path} cannot be used: {typed_error_line(error)}") from error

    @torch.inference_mode()
    def apply(self, pooled: Tensor) -> Tensor:
        """Vectors (n, self.dimension) float32 from pooled vectors (n, dimension) float32."""
        for step in self._steps:
            pooled = step(pooled)
        return pooled

    def _built(self, folder: Path, module: ModuleConfig, name: str) -> nn.Module:
        if module.kind == "Normalize":
            return _UnitLength()
        if module.inputs != self.dimension:
            raise ModelError(
                name, f"{module.path} takes vectors of dimension {module.inputs}, its input has {self.dimension}"
            )
        built: nn.Module = nn.LayerNorm(module.inputs)
        names = {"norm.weight": "weight", "norm.bias": "bias"}
        if module.kind == "Dense":
            built, names = _Dense(module), {}
        weights = {names.get(key, key): value.float() for key, value in load_file(folder / module.weights).items()}
        built.load_state_dict(weights)
        self.dimension = module.outputs
        return built


class _Dense(nn.Module):
    def __init__(self, module: ModuleConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(module.inputs, module.outputs, bias=module.bias)
        self.activation = _ACTIVATIONS[module.activation]()
        self.with_residual = module.residual
        if module.residual and module.inputs != module.outputs:
            self.residual = nn.Linear(module.inputs, module.outputs, bias=False)
        else:
            self.residual = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(self.linear(x))
        return y + self.residual(x) if self.with_residual else y


class _UnitLength(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(x, dim=1)
