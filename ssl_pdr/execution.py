"""How a model is run: passes that are differentiated twice or forwards, and what makes a regularized step impossible."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from ssl_pdr.errors import ModelError
from ssl_pdr.sites import is_compiled, uncompiled_passes, unwrap

_LOG = logging.getLogger("ssl_pdr")
# Parts of the names of kernels that are written as one fused forward and one fused backward function.
_FUSED = ("flash", "flex", "paged", "/")
# Where transformers' layers and torch's checkpoint wrapper keep the function that recomputes them.
_RECOMPUTES = ("_gradient_checkpointing_func", "checkpoint_fn")
_told: WeakKeyDictionary[nn.Module, set[str]] = WeakKeyDictionary()
_Function = Callable[..., Any]


@contextmanager
def plain_attention(model: nn.Module, why: str) -> Iterator[None]:
    """For passes that are differentiated twice: scaled dot product attention runs in its plain (math) form, and uncompiled.

    Fused attention has neither a second derivative nor a forward-mode one, and no compiled backward pass has a derivative.
    What gradient checkpointing computes again runs in the plain form as well. Says so once per model.

    Args:
        model: wrapped or not; one that is no Hugging Face model is taken to use torch's own attention or none.
        why: who wants it and what for, as the beginning of a sentence: "jr and wjr differentiate twice".

    Raises:
        ModelError: for attention that cannot be switched from outside (flash, flex or paged kernels).

    Example:
        >>> attention = nn.MultiheadAttention(8, 2)
        >>> x = torch.randn(3, 1, 8, requires_grad=True)
        >>> with plain_attention(attention, "jr and wjr differentiate twice"):
        ...     y = attention(x, x, x, need_weights=False)[0]
        >>> (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        >>> gradient.square().sum().backward()
    """
    with _plain_and_uncompiled(model, why), _recomputed(model, _in_plain_form):
        yield


@contextmanager
def forward_mode(model: nn.Module, why: str) -> Iterator[None]:
    """For `torch.func.jvp` through `model`, and the gradient of what it returns to the parameters.

    Beside fused attention and compilation (see `plain_attention`) two things stand in the way. The derivative that torch
    has for `layer_norm` takes the mean and the deviation for constants when it is differentiated itself: tangents are right,
    their gradients are not, and nothing says so. Gradient checkpointing records another graph than it computes again: it
    is switched off here.

    Args:
        model: see `plain_attention`.
        why: see `plain_attention`: "order=2 differentiates forwards and then backwards".

    Raises:
        ModelError: see `plain_attention`; for layers that normalize over a batch or an instance by its own statistics; or under
            autocast on a GPU.

    Example:
        >>> norm, x = nn.LayerNorm(2).double(), torch.tensor([1.0, 3.0], dtype=torch.float64)
        >>> weight = norm.weight
        >>> with forward_mode(norm, "order=2 differentiates forwards and then backwards"):
        ...     tangent = torch.func.jvp(lambda e: norm(weight * x + e), (x,), (torch.ones_like(x),))[1]
        >>> tangent.sum().backward()
    """
    if torch.is_autocast_enabled("cuda"):  # the softmax of attention has no such derivative there; seen with torch 2.11
        raise ModelError(f"{why}, which torch does in float32 only on a GPU; use precision float32, or order=1")
    for module in unwrap(model).modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and (module.training or module.running_mean is None):
            raise ModelError(
                f"{why}, which torch gets wrong through {type(module).__name__}; use order=1, or a model that normalizes rows"
            )
    with _plain_and_uncompiled(model, why), _recomputed(model, _not_at_all), _Differentiable():
        yield


def check_execution(model: nn.Module) -> None:
    """Refuse ways to run a model in which no regularized step can be taken.

    Raises:
        ModelError: for reentrant gradient checkpointing, or `nn.DataParallel`.
    """
    for module in unwrap(model).modules():
        function = getattr(module, "_gradient_checkpointing_func", None)
        on = function is not None and getattr(module, "gradient_checkpointing", False)
        # torch takes the reentrant kind where nobody chooses.
        reentrant = on and isinstance(function, partial) and function.keywords.get("use_reentrant") is not False
        if reentrant or getattr(getattr(module, "checkpoint_impl", None), "name", None) == "REENTRANT":
            raise ModelError(
                "reentrant gradient checkpointing has no gradient at the embeddings; "
                "use gradient_checkpointing_kwargs={'use_reentrant': False}"
            )


def check_posterior(model: nn.Module) -> None:
    """Refuse a head whose outputs are not the logits of one softmax.

    Raises:
        ModelError: for a model whose configuration says so.

    Example:
        >>> from types import SimpleNamespace
        >>> model = nn.Linear(2, 2)
        >>> model.config = SimpleNamespace(problem_type="regression")
        >>> check_posterior(model)
        Traceback (most recent call last):
        ...
        ssl_pdr.errors.ModelError: a model with problem_type='regression' has no softmax posterior, which R compares; ...
    """
    problem = getattr(getattr(unwrap(model), "config", None), "problem_type", None)
    if problem not in (None, "single_label_classification"):
        raise ModelError(
            f"a model with problem_type={problem!r} has no softmax posterior, which R compares; "
            "expected one class per row: problem_type='single_label_classification'"
        )


@contextmanager
def _plain_and_uncompiled(model: nn.Module, why: str) -> Iterator[None]:
    inner = unwrap(model)
    kinds = _attention_kinds(inner)
    for kind in sorted(kinds):
        if any(part in kind for part in _FUSED):
            raise ModelError(
                f"{why}, which attn_implementation={kind!r} cannot do; load the model with attn_implementation='sdpa' or 'eager'"
            )
    compiled = is_compiled(model)
    for what, applies in (("attention runs in its plain (math) form", "sdpa" in kinds), ("runs uncompiled", compiled)):
        told = _told.setdefault(inner, set())
        if applies and (message := f"{why}: {what}") not in told:
            told.add(message)
            _LOG.warning(message)
    with uncompiled_passes(model), sdpa_kernel(SDPBackend.MATH):
        yield


def _attention_kinds(model: nn.Module) -> set[str]:
    """What a model's configurations ask for; empty where nothing says."""
    configs = (getattr(module, "config", None) for module in model.modules())
    kinds = (getattr(config, "_attn_implementation", None) for config in configs)
    return {kind for kind in kinds if isinstance(kind, str)}


@contextmanager
def _recomputed(model: nn.Module, how: Callable[[_Function], _Function]) -> Iterator[None]:
    """While the context is open, gradient checkpointing goes through `how(its function)`."""
    places = [
        (module, name, function)
        for module in unwrap(model).modules()
        for name in _RECOMPUTES
        if callable(function := getattr(module, name, None))
    ]
    for module, name, function in places:
        setattr(module, name, how(function))
    try:
        yield
    finally:
        for module, name, function in places:
            setattr(module, name, function)


def _in_plain_form(checkpoint: _Function) -> _Function:
    """Checkpointing that computes again as it computed, although by then the pass is over."""
    given = checkpoint.keywords.get("context_fn") if isinstance(checkpoint, partial) else None

    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        first, again = given() if given else (nullcontext(), nullcontext())
        return first, _PlainAgain(again)

    return partial(checkpoint, context_fn=contexts)


class _PlainAgain:
    """What recomputation runs in; entered once for each time that it is differentiated."""

    def __init__(self, given: AbstractContextManager[Any]) -> None:
        self._given = given
        self._open: list[ExitStack] = []

    def __enter__(self) -> None:
        stack = ExitStack()
        stack.enter_context(self._given)
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        self._open.append(stack)

    def __exit__(self, *_: object) -> None:
        self._open.pop().close()


def _not_at_all(_: _Function) -> _Function:
    def call(function: _Function, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


class _Differentiable(TorchFunctionMode):
    """Replaces what has a wrong second derivative in forward mode, in torch 2.13: github.com/pytorch/pytorch/issues/196700."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (F.layer_norm, torch.layer_norm):
            return _layer_norm(*args, **kwargs)
        # transformers asks it of embeddings, for checkpointing's sake; inside of a transform it is an error
        if func is Tensor.requires_grad_:
            return args[0]
        return func(*args, **kwargs)


def _layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    dims = tuple(range(-len(normalized_shape), 0))
    wide = x.float() if x.dtype.itemsize < 4 else x
    centred = wide - wide.mean(dims, keepdim=True)
    y = centred * torch.rsqrt(centred.square().mean(dims, keepdim=True) + eps)
    y = y if weight is None else y * weight
    y = y if bias is None else y + bias
    # Autocast leaves layer_norm's result in float32, but on the CPU, where it is of the input's dtype.
    autocast = x.device.type != "cpu" and torch.is_autocast_enabled(x.device.type)
    return y if autocast else y.to(x.dtype)
