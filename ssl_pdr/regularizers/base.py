"""What every regularizer shares: the clean pass, the site, dropout, the key of its noise; and their registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ssl_pdr.choices import DROPOUTS, SITES, TARGET_GRADS, Dropout
from ssl_pdr.errors import ConfigError, ModelError
from ssl_pdr.execution import check_execution, check_posterior
from ssl_pdr.outputs import model_inputs, read_logits
from ssl_pdr.perturbation import NoiseKey, RandomState, token_mask
from ssl_pdr.registry import Registry
from ssl_pdr.resolution import compute_dtype
from ssl_pdr.sites import Site, Transform, dropout_off, find_site, hooked, self_test, unwrap


@dataclass(frozen=True)
class CleanPass:
    """What the forward pass without noise leaves behind for the loss and for the regularizer.

    Attributes:
        logits: (B, C), or (B, 2, T) for the start and the end of an answer, −inf outside of the support; with graph.
        embeddings: the tensor at the site, (B, T, E), in the graph; None where no site is used.
        mask: tokens that take noise, (B, T), bool; None likewise.
        state: the random state before the pass, so that its dropout masks can be drawn again.
        held_still: whether the parameters were; then the graph, where there is one, begins at the embeddings and serves R alone.
        gradient: of a posterior of two classes, at the embeddings, up to a factor for each row, (B, T, E), where it is known already.
        dtype: what the layers compute in: autocast's where it is on, be it within the model's own forward only.
        target: logits that R compares with in the place of these, of the same shape, no graph; None for these.
    """

    logits: Tensor
    embeddings: Tensor | None
    mask: Tensor | None
    state: RandomState
    held_still: bool = False
    gradient: Tensor | None = None
    dtype: torch.dtype = torch.float32
    target: Tensor | None = None

    @property
    def compared(self) -> Tensor:
        """The logits that R compares the noisy pass with."""
        return self.logits if self.target is None else self.target

    @property
    def at_site(self) -> tuple[Tensor, Tensor]:
        """Embeddings and mask.

        Raises:
            ModelError: where there are none.
        """
        if self.embeddings is None or self.mask is None:
            raise ModelError("this clean pass has kept no embeddings: it comes from a regularizer without a site")
        return self.embeddings, self.mask

    def without_graph(self) -> CleanPass:
        """The same values, so that the graph can be freed."""
        embeddings = None if self.embeddings is None else self.embeddings.detach()
        return replace(self, logits=self.logits.detach(), embeddings=embeddings)


class Regularizer(ABC):
    """A penalty on how much a model's posterior moves when its input embeddings do.

    Call it as `regularizer(model, inputs) -> (B,)`, or let an objective share the clean pass: `clean_pass`, then
    `penalty`. The model is any module whose output has `.logits` of shape (B, C), C ≥ 2, or `.start_logits` and `.end_logits`
    of shape (B, T): then R is one term for each, averaged (Eq. 9).

    Args:
        site: where noise enters: `output` (what leaves the embedding module), `sum` (before its LayerNorm) or `word`.
        dropout: masks of the second pass: `independent` draws fresh ones, `shared` repeats those of the clean pass,
            `off` runs every pass of the step without dropout, that of the labelled loss included.
        seed: of the noise.
    """

    name: ClassVar[str]
    uses_site: ClassVar[bool] = True
    labelled_only: ClassVar[bool] = False  # whether R is of labelled rows, and averaged over them

    def __init__(self, *, site: str = "output", dropout: Dropout = "independent", seed: int = 0) -> None:
        if site not in SITES:
            raise ConfigError(f"unknown site {site!r}; expected one of: {', '.join(SITES)}")
        if dropout not in DROPOUTS:
            raise ConfigError(f"unknown dropout {dropout!r}; expected one of: {', '.join(DROPOUTS)}")
        self.site = site
        self.dropout = dropout
        self.seed = seed
        self.epoch = 0
        self.draw = 0  # which of several in an epoch, where rows come again within one
        self.pads = False
        self._calls = 0
        self._sites: WeakKeyDictionary[nn.Module, Site] = WeakKeyDictionary()

    def __getstate__(self) -> dict[str, Any]:
        """All but what is known of models, which other processes have their own of."""
        return {
            name: WeakKeyDictionary if isinstance(value, WeakKeyDictionary) else value
            for name, value in vars(self).items()
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({name: value() if value is WeakKeyDictionary else value for name, value in state.items()})

    @property
    def clean_is_constant(self) -> bool:
        """Whether no gradient of R goes through the clean pass: then that of rows without a label holds parameters still.

        A subclass whose `penalty` differentiates the clean posterior has to return False: those rows have no graph there otherwise.
        """
        return False

    def wants_gradient(self, clean: CleanPass) -> bool:
        """Whether `penalty` can use the gradient of the labelled rows' loss, in place of a backward pass of its own."""
        return False

    def __call__(self, model: nn.Module, inputs: Mapping[str, Any], *, row_ids: Tensor | None = None) -> Tensor:
        """R of each row.

        Args:
            model: any module that returns `.logits`, or `.start_logits` and `.end_logits`.
            inputs: what the model takes, with `attention_mask` where there is padding, and for answers `passage`, as
                `read_logits` takes it; `labels` are ignored.
            row_ids: (B,), int64: noise is keyed by (seed, epoch, draw, row id). Without them every call draws fresh noise.

        Returns:
            (B,), at least 0, with graph.
        """
        clean = (
            self.clean_pass(model, inputs, hold_still=True)
            if self.clean_is_constant
            else self.clean_pass(model, inputs)
        )
        return self.penalty(model, inputs, clean, row_ids=row_ids)

    def set_epoch(self, epoch: int) -> None:
        """Draw other noise in each epoch."""
        self.epoch = epoch

    def clean_pass(self, model: nn.Module, inputs: Mapping[str, Any], *, hold_still: bool = False) -> CleanPass:
        """The forward pass without noise, which the labelled loss shares; checks the site on first use.

        Args:
            model: any module that returns `.logits`, or `.start_logits` and `.end_logits`.
            inputs: what the model takes.
            hold_still: build no graph to the parameters: for rows of which nothing but a detached target is wanted.
        """
        self._prepare(model, inputs)
        state = RandomState.capture(unwrap(model))
        kept: list[Tensor] = []
        dtypes: list[torch.dtype] = []

        def keep(embeddings: Tensor) -> Tensor:
            kept.append(self._keep(embeddings))
            dtypes.append(compute_dtype(embeddings))  # accelerate's autocast is on nowhere but here
            return kept[-1]

        with self._held_still(model) if hold_still else nullcontext():
            logits = self._logits(model, inputs, keep if self.uses_site else None)
        if not self.uses_site:
            return CleanPass(logits, None, None, state, hold_still)
        mask = token_mask(inputs, kept[0], pads=self.pads)
        return CleanPass(logits, kept[0], mask, state, hold_still, dtype=dtypes[0])

    @abstractmethod
    def penalty(
        self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass, *, row_ids: Tensor | None = None
    ) -> Tensor:
        """R of each row, (B,), given the clean pass."""

    def at_zero_noise(self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass) -> Tensor | None:
        """What R would be without noise, (B,), no graph: the share of dropout and of the target. None where it is zero by definition.

        Costs one forward pass and leaves the random states as they were.
        """
        return None

    def _keep(self, embeddings: Tensor) -> Tensor:
        return embeddings

    def _held_still(self, model: nn.Module) -> AbstractContextManager[None]:
        """What a clean pass that holds parameters still runs in."""
        return torch.no_grad()

    def _prepare(self, model: nn.Module, inputs: Mapping[str, Any]) -> None:
        check_execution(model)
        check_posterior(model)
        inner = unwrap(model)
        if self.uses_site and inner not in self._sites:
            site = find_site(inner, self.site)
            self_test(inner, inputs, site)
            self._sites[inner] = site

    def _logits(self, model: nn.Module, inputs: Mapping[str, Any], transform: Transform | None) -> Tensor:
        """One forward pass, with `transform` applied at the site."""
        inner = unwrap(model)
        at_site = nullcontext() if transform is None else hooked(model, self._sites[inner], transform)
        without_dropout = dropout_off(inner) if self.dropout == "off" else nullcontext()
        with without_dropout, at_site:
            return read_logits(model(**model_inputs(inputs)), inputs)

    def _key(self, row_ids: Tensor | None, clean: CleanPass) -> tuple[NoiseKey, Tensor]:
        if row_ids is not None:
            return NoiseKey(self.seed, self.epoch, self.draw), row_ids.to(clean.logits.device)
        self._calls += 1
        return NoiseKey(self.seed, self.epoch, self._calls), torch.arange(len(clean.logits), device=clean.logits.device)


def with_gradient(embeddings: Tensor) -> Tensor:
    """The embeddings, in a graph that begins here if it has not begun before."""
    return embeddings if embeddings.requires_grad else embeddings.detach().requires_grad_()


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """While the context is open, no parameter requires gradient: passes keep and compute nothing for them."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


_REGISTRY: Registry[type[Regularizer]] = Registry("regularizer")


def register_regularizer(name: str) -> Callable[[type[Regularizer]], type[Regularizer]]:
    """Class decorator: make a regularizer known to recipes and to the command line under `name`."""

    def decorate(cls: type[Regularizer]) -> type[Regularizer]:
        cls.name = name
        _REGISTRY.register(name, cls)
        return cls

    return decorate


def get_regularizer(name: str) -> type[Regularizer]:
    """The regularizer class called `name`; an `UnknownNameError` with close matches if there is none."""
    return _REGISTRY.get(name)


def list_regularizers() -> list[str]:
    """The names of all regularizers, sorted."""
    return list(_REGISTRY)


def check_target_grad(target_grad: str) -> None:
    """Refuse an unknown policy for the gradient of the clean side with a `ConfigError`."""
    if target_grad not in TARGET_GRADS:
        raise ConfigError(f"unknown target_grad {target_grad!r}; expected one of: {', '.join(TARGET_GRADS)}")
