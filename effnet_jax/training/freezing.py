"""What a run leaves as it found it: parameters, statistics of BatchNorm, the beginning of the network."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict, unflatten_dict

Path = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Freezing:
    """What is not trained; nothing by default.

    Attributes:
      parameters: paths of the frozen parameters.
      norms: paths of the BatchNorm layers all of whose parameters are frozen. They normalise with their moving
        statistics and keep them.
      last_layer: the network up to this layer has no trained parameter; None where its first layer has one.
        This part runs as in inference, without stochastic depth, and nothing of it is differentiated.
    """

    parameters: frozenset[Path] = frozenset()
    norms: frozenset[Path] = frozenset()
    last_layer: str | None = None

    @classmethod
    def of(cls, model: nn.Module, variables: Any, parameters: Iterable[Path]) -> "Freezing":
        """Returns what follows from freezing `parameters` of a `ChainClassifier` with these `variables`."""
        parameters = frozenset(parameters)
        if not parameters:
            return cls()
        trained = flatten_dict(variables["params"]).keys() - parameters
        trained_layers, trained_modules = {path[0] for path in trained}, {path[:-1] for path in trained}
        last_layer = None
        for layer, scope in model.apply({}, method="scopes").items():
            if scope in trained_layers:
                break
            last_layer = layer
        norms = {path[:-1] for path in flatten_dict(variables["batch_stats"])} - trained_modules
        return cls(parameters, frozenset(norms), last_layer)

    def trained(self, params: Any) -> Any:
        """Returns the part of the parameters that is trained, as a nested dict."""
        kept = {path: leaf for path, leaf in flatten_dict(params).items() if path not in self.parameters}
        return unflatten_dict(kept)

    def merged(self, params: Any, trained: Any) -> Any:
        """Returns `params` with what `trained` holds in place of their own."""
        return unflatten_dict(flatten_dict(params) | flatten_dict(trained))

    def describe(self, params: Any) -> list[str]:
        """Says in a line how much is trained, where it is not everything."""
        if not self.parameters:
            return []
        size = lambda tree: sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))  # noqa: E731
        upto = f"; nothing up to the layer {self.last_layer!r} is" if self.last_layer else ""
        return [f"trained   {size(self.trained(params)):,} of {size(params):,} parameters{upto}"]

    def forward(self, model: nn.Module, variables: Any, images: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
        """Runs the model for training.

        Args:
          model: a `ChainClassifier`; where nothing is frozen any module with its `__call__` will do.
          variables: {"params", "batch_stats"}.
          images: float [N, H, W, 3], normalised.
          key: for dropout and stochastic depth.

        Returns:
          Logits [N, classes] and the new "batch_stats".
        """
        train = functools.partial(model.apply, variables, train=True, rngs={"dropout": key}, mutable=["batch_stats"])
        with nn.intercept_methods(self._at_rest):
            if self.last_layer is None:
                logits, mutated = train(images)
            else:
                fmap = model.apply(variables, images, layer=self.last_layer, method="features")
                logits, mutated = train(fmap, layer=self.last_layer, method="head")
        return logits, mutated["batch_stats"]

    def _at_rest(
        self, call: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any], context: Any
    ) -> Any:
        """Interceptor of Flax: calls the frozen BatchNorm layers with `train=False`."""
        if context.module.path not in self.norms:
            return call(*arguments, **options)
        x, *_ = arguments
        return call(x, False)


NOTHING_FROZEN = Freezing()
