"""Where in a model the noise enters: finding the embedding site, hooking it, and proving that the hook is alive."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ssl_pdr.choices import SITES
from ssl_pdr.errors import ConfigError, ModelError
from ssl_pdr.outputs import model_inputs, read_logits

Transform = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Site:
    """A tensor (B, T, E) inside a model: the input or the output of one of its modules.

    Attributes:
        name: `sum`, `output` or `word`.
        module: dotted name of the module, as `model.get_submodule` takes it.
        at: which end of the module carries the embeddings.
    """

    name: str
    module: str
    at: Literal["input", "output"]


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside `DistributedDataParallel` and `torch.compile` wrappers; `nn.DataParallel` is refused.

    Raises:
        ModelError: for `nn.DataParallel`, whose replicas the hooks would not reach.
    """
    while True:
        if isinstance(model, nn.DataParallel):
            raise ModelError(
                "the model is wrapped in torch.nn.DataParallel, whose replicas lose the embedding hook; "
                "start one process per GPU (torchrun --nproc-per-node N …) or show one GPU (CUDA_VISIBLE_DEVICES=0)"
            )
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):  # torch.compile
            model = inner
        else:
            return model


def undistributed(model: nn.Module) -> nn.Module:
    """The model inside `DistributedDataParallel`, compiled if it was; in itself no process waits for another.

    `DistributedDataParallel` sends buffers round in every forward pass, so all processes must run it equally often. Gradients
    of passes outside of it are reduced with those of the one pass inside.
    """
    inner = getattr(model, "_orig_mod", model)
    return unwrap(model) if isinstance(inner, nn.parallel.DistributedDataParallel) else model


def within(model: nn.Module, inputs: Mapping[str, Any], action: Callable[[], Any]) -> Any:
    """Run `action` in the place of the forward pass of `model`, so that distributed wrappers take what it returns for the output.

    They prepare for the backward pass of what their model returns, but cannot be differentiated forwards themselves.

    Args:
        model: wrapped or not.
        inputs: what it takes.
        action: runs what `undistributed` gives; returns tensors with graph.
    """
    inner = unwrap(model)
    if undistributed(model) is model:
        return action()
    before = vars(inner).get("forward")

    def put_back() -> None:
        vars(inner).pop("forward", None)
        if before is not None:
            inner.forward = before

    def act(*_: Any, **__: Any) -> Any:
        put_back()
        return action()

    inner.forward = act
    try:
        return model(**model_inputs(inputs))
    finally:
        put_back()


def available_sites(model: nn.Module) -> dict[str, Site]:
    """The sites that `model` has, by name.

    `word` is the output of the token embedding, and always there. `sum` is the sum of token, position and segment
    embeddings before LayerNorm and dropout (Cheng et al., NAACL 2021, section 3): it exists where an embedding module
    adds up two tables or more. `output` is what leaves the embedding module for the first layer; where the
    token embedding is all there is (rotary positions), it is that embedding's output.

    Raises:
        ModelError: if the model has no token embedding that can be found.

    Example:
        >>> from transformers import BertConfig, BertForSequenceClassification
        >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
        >>> sorted(available_sites(BertForSequenceClassification(tiny)))
        ['output', 'sum', 'word']
    """
    model = unwrap(model)
    token = _token_embedding(model)
    name = next(name for name, module in model.named_modules() if module is token)
    parent_name = name.rpartition(".")[0]
    children = dict(model.get_submodule(parent_name).named_children())
    # That of the tokens may be an adapter around one, as PEFT has it.
    tables = [child for child in children.values() if child is token or isinstance(child, nn.Embedding)]
    norm = _first(children, lambda m: type(m).__name__.endswith("Norm"))
    dropout = _first(children, lambda m: isinstance(m, nn.Dropout))

    def path(child: str) -> str:
        return f"{parent_name}.{child}" if parent_name else child

    sites = {"word": Site("word", name, "output")}
    # An embedding module holds tables, norms, dropout and at most a projection; a whole model holds layers.
    if (
        parent_name
        and norm
        and all(child is token or _belongs_to_embeddings(called, child) for called, child in children.items())
    ):
        sites["output"] = Site("output", parent_name, "output")
        if len(tables) > 1:
            sites["sum"] = Site("sum", path(norm), "input")
    elif len(tables) > 1 and dropout and any(isinstance(child, nn.ModuleList) for child in children.values()):
        # GPT-2: the model itself adds the tables and drops out
        sites["sum"] = Site("sum", path(dropout), "input")
        sites["output"] = Site("output", path(dropout), "output")
    else:  # rotary positions, or a model in which nothing later can be told apart
        sites["output"] = Site("output", name, "output")
    return sites


def find_site(model: nn.Module, name: str) -> Site:
    """The site called `name` in `model`.

    Raises:
        ConfigError: for a name that is no site at all.
        ModelError: for a site that this architecture does not have; the message lists those that it has.
    """
    if name not in SITES:
        raise ConfigError(f"unknown site {name!r}; expected one of: {', '.join(SITES)}")
    sites = available_sites(model)
    if name not in sites:
        raise ModelError(
            f"{type(unwrap(model)).__name__} has no site {name!r} (no table of positions or segments is added to its "
            f"token embedding in a module of its own); use one of: {', '.join(sorted(sites))}"
        )
    return sites[name]


@contextmanager
def hooked(model: nn.Module, site: Site, transform: Transform) -> Iterator[None]:
    """While the context is open, the embeddings at `site` are replaced by `transform(embeddings)`.

    Never done by feeding `inputs_embeds`: models add positions to those a second time.

    In a compiled model the hook stays, since a compiled pass looks once for hooks and never again; it interrupts the graph at
    the site, and everything on either side is compiled. What was compiled before the hook was there is compiled anew.

    Args:
        model: as it is called in the context: wrapped, if the wrapper is.
        site: of `model`.
        transform: of (B, T, E), into the same shape.

    Raises:
        ModelError: on leaving, if the module was not called exactly once (a dead hook passes a zero-noise test).
    """
    calls = 0

    def counted(embeddings: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return transform(embeddings)

    module = unwrap(model).get_submodule(site.module)
    compiled = _compiled_parts(model)
    if any(getattr(getattr(part, "dynamo_ctx", None), "fullgraph", False) for part in compiled):
        raise ModelError(
            f"the graph is interrupted at site {site.name!r}, where noise enters; got torch.compile(fullgraph=True), leave it out"
        )
    with _standing(module, site, counted) if compiled else _passing(module, site, counted):
        yield
    if calls != 1:
        raise ModelError(
            f"the module {site.module!r} of site {site.name!r} ran {calls} times in one forward pass, expected once; "
            "choose another site"
        )


def is_compiled(model: nn.Module) -> bool:
    """Whether `torch.compile` has been applied to a model, to a part of it, or by `model.compile()`."""
    return bool(_compiled_parts(model))


def uncompiled_passes(model: nn.Module) -> AbstractContextManager[Any]:
    """While the context is open, a compiled model runs as if it were not."""
    return torch.compiler.set_stance("force_eager") if is_compiled(model) else nullcontext()


def _compiled_parts(model: nn.Module) -> list[nn.Module]:
    return [
        module
        for module in model.modules()
        if getattr(module, "_compiled_call_impl", None) is not None or isinstance(module, torch._dynamo.OptimizedModule)
    ]


@contextmanager
def _passing(module: nn.Module, site: Site, transform: Transform) -> Iterator[None]:
    """A hook that leaves no trace."""
    if site.at == "input":
        handle = module.register_forward_pre_hook(lambda _, args: (transform(args[0]), *args[1:]))
    else:
        handle = module.register_forward_hook(lambda _, __, output: transform(output))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _standing(module: nn.Module, site: Site, transform: Transform) -> Iterator[None]:
    """A hook that stays, and asks each time what is to be done."""
    standing = {*module._forward_pre_hooks.values(), *module._forward_hooks.values()}
    if (_at_input if site.at == "input" else _at_output) not in standing:
        if site.at == "input":
            module.register_forward_pre_hook(_at_input)
        else:
            module.register_forward_hook(_at_output)
        # The adversarial direction and the loss go through the same graph: a compiled backward pass must not
        # overwrite what it has been given.
        torch._functorch.config.donated_buffer = False
        torch.compiler.reset()
    _TRANSFORMS[module] = site.at, transform
    try:
        yield
    finally:
        del _TRANSFORMS[module]


_TRANSFORMS: WeakKeyDictionary[nn.Module, tuple[str, Transform]] = WeakKeyDictionary()
_NOTHING: tuple[str, Transform] = ("", lambda x: x)


# Functions of the module, so that a model with such a hook can be copied and pickled.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def _at_input(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    at, transform = _TRANSFORMS.get(module, _NOTHING)
    return (transform(args[0]), *args[1:]) if at == "input" else args


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _at_output(module: nn.Module, _: tuple[Any, ...], output: Tensor) -> Tensor:
    at, transform = _TRANSFORMS.get(module, _NOTHING)
    return transform(output) if at == "output" else output


def self_test(model: nn.Module, inputs: Mapping[str, Any], site: Site) -> None:
    """Check on two rows that zero noise at `site` leaves the logits alone and that large noise moves them.

    Runs three small forward passes without dropout and without gradients; random states are left as they were.

    Raises:
        ModelError: naming the module, if either fails.
    """
    rows = {key: value[:2] if isinstance(value, Tensor) else value for key, value in inputs.items()}
    model = unwrap(model)
    with torch.no_grad(), dropout_off(model), uncompiled_passes(model):

        def forward() -> Tensor:
            result = (
                read_logits(model(**model_inputs(rows)), rows).cpu().double()
            )  # not every accelerator knows float64
            return result.masked_fill(result == -torch.inf, 0)

        def logits(noise: Transform) -> Tensor:
            with hooked(model, site, lambda x: x + noise(x)):
                return forward()

        clean = forward()

        unmoved = logits(torch.zeros_like)
        # A fixed pattern of alternating signs: no random number is drawn, and LayerNorm does not cancel it.
        moved = logits(lambda x: 3 * x.norm(dim=-1, keepdim=True) * _alternating(x))
    tolerance = 1e-5 * (1 + clean.abs().max())
    if (unmoved - clean).abs().max() > tolerance:
        raise ModelError(
            f"zero noise at site {site.name!r} (module {site.module!r}) changes the logits; choose another site"
        )
    if not (moved - clean).abs().max() > tolerance:
        raise ModelError(
            f"large noise at site {site.name!r} (module {site.module!r}) does not reach the logits; choose another site"
        )


@contextmanager
def dropout_off(model: nn.Module) -> Iterator[None]:
    """Run `model` without dropout (every module in evaluation mode), then put each module back as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _token_embedding(model: nn.Module) -> nn.Module:
    getter = getattr(model, "get_input_embeddings", None)
    if callable(getter):
        try:
            return getter()  # type: ignore[no-any-return]
        except NotImplementedError:  # transformers' base class, where a model does not say
            pass
    named = {name: module for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
    tables = [table for name, table in named.items() if "pos" not in name.rpartition(".")[2]] or list(named.values())
    if not tables:
        raise ModelError(
            f"{type(model).__name__} has no token embedding: expected get_input_embeddings() or an nn.Embedding to add noise to"
        )
    return max(tables, key=lambda table: table.num_embeddings)


def _belongs_to_embeddings(name: str, module: nn.Module) -> bool:
    projection = isinstance(module, nn.Linear) and "proj" in name
    return isinstance(module, nn.Embedding | nn.Dropout) or projection or type(module).__name__.endswith("Norm")


def _first(children: dict[str, nn.Module], accept: Callable[[nn.Module], bool]) -> str | None:
    return next((name for name, child in children.items() if accept(child)), None)


def _alternating(x: Tensor) -> Tensor:
    size = x.shape[-1]
    signs = 1.0 - 2.0 * (torch.arange(size, device=x.device) % 2)
    pattern: Tensor = (signs / size**0.5).to(x.dtype)
    return pattern
