"""Ways to run a model: compiled, with other attention, recomputed layer by layer; and what is held in memory meanwhile."""

from __future__ import annotations

import copy
import logging
import pickle
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.backends.debugging import aot_eager
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import CheckpointImpl, checkpoint_wrapper
from transformers import TrainingArguments

from benchmarks.memory import peak_bytes
from ssl_pdr import RPT, VAT, JacobianRegularizer, Objective, PDRTrainer, RDrop, WeightedJacobianRegularizer
from ssl_pdr.errors import ModelError
from ssl_pdr.execution import check_execution, check_posterior, forward_mode, plain_attention
from ssl_pdr.sites import find_site, hooked
from tests.conftest import checkpointing, enable_checkpointing, tiny_batch, tiny_bert
from tests.test_sites import build

WHY = "order=2 differentiates forwards"
METHODS: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "rdrop": lambda: RDrop("shl"),
    "rpt": lambda: RPT("shl", 0.3),
    "vat power": lambda: VAT("shl", 0.3, search="power"),
    "vat exact, both sides": lambda: VAT("shl", 0.3),
    "vat exact, detached": lambda: VAT("kl", 0.3),
    "vat of order 2": lambda: VAT("kl", 0.3, order=2),
    "jr": lambda: JacobianRegularizer(),
    "wjr": lambda: WeightedJacobianRegularizer(1),
}


class Small(nn.Module):
    """Attention, a norm and a head: what takes little time to compile."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.table, self.query = nn.Embedding(64, 8), nn.Linear(8, 8)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        x = self.table(input_ids)
        mask = None if attention_mask is None else attention_mask[:, None, None].bool()
        attended = F.scaled_dot_product_attention(self.query(x)[:, None], x[:, None], x[:, None], attn_mask=mask)
        return SimpleNamespace(logits=self.head(self.norm(x + attended[:, 0]).tanh().mean(dim=1)))


class Counting:
    """A backend that counts what it compiles."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, module: Any, inputs: Any) -> Any:
        self.graphs += 1
        return aot_eager(module, inputs)


@pytest.fixture
def compiler() -> Iterator[None]:
    donated = torch._functorch.config.donated_buffer
    torch.compiler.reset()
    yield
    torch.compiler.reset()
    torch._functorch.config.donated_buffer = donated


def compiled(test: Any) -> Any:
    """A test that compiles: it starts from nothing, and bears what Dynamo says of the embeddings, whose graph goes on."""
    quiet = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
    return quiet(pytest.mark.usefixtures("compiler")(test))


def labelled_batch(step: int, tokens: int = 6) -> dict[str, Any]:
    """Two labelled and two unlabelled rows."""
    ids = torch.randint(3, 60, (4, tokens), generator=torch.Generator().manual_seed(step))
    labels = torch.tensor([0, 1, -100, -100])
    mask = torch.ones_like(ids)
    mask[1, -2:] = mask[2, -1] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "row_id": torch.arange(4) + 4 * step}


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def trained(
    model: nn.Module, run: nn.Module, regularizer: Any, *, steps: int = 3, early: bool = False, tokens: int = 6
) -> Tensor:
    """The loop that a user writes; returns the weights at its end."""
    objective, optimizer = Objective(regularizer), torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(steps):
        parts = objective(run, labelled_batch(step, tokens), backward=Tensor.backward if early else None)
        parts.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return weights(model)


@compiled
@pytest.mark.parametrize("method", METHODS)
def test_a_compiled_model_takes_the_steps_of_the_eager_one(method: str) -> None:
    eager, model, counting = Small(), Small(), Counting()
    expected = trained(eager, eager, METHODS[method]())
    run, regularizer = torch.compile(model, backend=counting), METHODS[method]()
    trained(model, run, regularizer, steps=1)
    graphs = counting.graphs
    assert (graphs > 0) == (method not in ("jr", "wjr"))  # those differentiate twice, which nothing compiled bears
    model.load_state_dict(Small().state_dict())
    torch.testing.assert_close(trained(model, run, regularizer), expected, rtol=1e-5, atol=1e-6)
    assert counting.graphs == graphs


@compiled
def test_lengths_that_change_are_compiled_for_once() -> None:
    """Graphs of any length are those whose backward pass would by itself overwrite what the next one needs."""
    eager, model, counting, graphs = Small(), Small(), Counting(), []
    run = torch.compile(model, backend=counting)
    for tokens in (6, 8, 7, 9, 6):
        expected = trained(eager, eager, VAT("shl", 0.3), steps=1, tokens=tokens)
        torch.testing.assert_close(trained(model, run, VAT("shl", 0.3), steps=1, tokens=tokens), expected)
        graphs.append(counting.graphs)
    assert graphs[0] < graphs[1] == graphs[-1]


@compiled
def test_early_backward_of_two_classes_goes_through_a_compiled_graph() -> None:
    eager, model = Small(2), Small(2)
    expected = trained(eager, eager, VAT("kl", 0.3), early=True)
    run = torch.compile(model, backend="aot_eager")
    torch.testing.assert_close(trained(model, run, VAT("kl", 0.3), early=True), expected)


@compiled
def test_what_was_compiled_before_the_hook_came_does_not_hide_it() -> None:
    """Dynamo does not guard on hooks: the graph of the first call here has none, and its backward pass may be run once."""
    eager, model = Small(), Small()
    run = torch.compile(model, backend="aot_eager")
    run(labelled_batch(0)["input_ids"], labelled_batch(0)["attention_mask"]).logits.sum().backward()
    model.zero_grad()
    torch.testing.assert_close(trained(model, run, VAT("shl", 0.3)), trained(eager, eager, VAT("shl", 0.3)))


@compiled
@pytest.mark.parametrize("make", [lambda: VAT("shl", 0.3), lambda: JacobianRegularizer(1)], ids=["vat", "jr"])
@pytest.mark.parametrize("part", ["in place", "of a part"])
def test_other_ways_to_compile(make: Callable[[], Any], part: str) -> None:
    eager, model = Small(), Small()
    if part == "in place":
        model.compile(backend="aot_eager")
    else:
        model.query = torch.compile(model.query, backend="aot_eager")
    torch.testing.assert_close(trained(model, model, make(), steps=2), trained(eager, eager, make(), steps=2))


@compiled
def test_a_compiled_model_can_be_pickled_and_copied_after_it_was_trained() -> None:
    model = Small()
    trained(model, torch.compile(model, backend="aot_eager"), RPT("shl", 0.3), steps=1)
    ids = labelled_batch(0)["input_ids"]
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(twin(ids).logits, model(ids).logits)
        trained(twin, torch.compile(twin, backend="aot_eager"), RPT("shl", 0.3), steps=1)
        assert len(twin.table._forward_hooks) == 1


def test_an_eager_model_keeps_no_hook() -> None:
    model = Small()
    trained(model, model, VAT("shl", 0.3), steps=1)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@compiled
def test_a_graph_that_must_not_be_interrupted_is_refused() -> None:
    model = torch.compile(Small(), backend="aot_eager", fullgraph=True)
    with pytest.raises(ModelError, match="interrupted at site 'output'.*fullgraph=True.*leave it out"):
        Objective(RPT("shl", 0.3))(model, labelled_batch(0))


@compiled
def test_the_trainer_compiles(tmp_path: Path) -> None:
    ends = []
    for compile_it in (False, True):
        model = tiny_bert(dropout=0.0, num_labels=2)
        args = TrainingArguments(
            output_dir=str(tmp_path),
            per_device_train_batch_size=4,
            max_steps=2,
            learning_rate=1e-2,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            torch_compile=compile_it,
            torch_compile_backend="aot_eager" if compile_it else None,
        )
        rows = [{"input_ids": [3 + i, 5, 7 + i, 9], "attention_mask": [1] * 4, "labels": i % 2} for i in range(8)]
        trainer = PDRTrainer(
            model, args, train_dataset=rows, regularizer=VAT("shl", 0.3, site="sum"), zero_noise_every=0
        )
        trainer.train()
        assert isinstance(trainer.model_wrapped, torch._dynamo.OptimizedModule) == compile_it
        ends.append(weights(model))
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["flash_attention_2", "flex_attention", "paged|sdpa", "kernels-community/flash-attn"])
@pytest.mark.parametrize("context", [plain_attention, forward_mode])
def test_attention_that_cannot_be_switched_is_refused(context: Any, kind: str) -> None:
    model = tiny_bert()
    model.config._attn_implementation = kind  # none of these kernels can be loaded here
    with (
        pytest.raises(ModelError, match=f"{WHY}, which attn_impl.* cannot do; load .*'eager'") as error,
        context(model, WHY),
    ):
        pass
    assert "\n" not in str(error.value)


def test_jr_is_refused_before_a_fused_pass_is_run() -> None:
    model, regularizer = tiny_bert(), JacobianRegularizer()
    regularizer(model, tiny_batch())
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(
        ModelError, match="jr and wjr differentiate twice, which attn_implementation='flash_attention_2'"
    ):
        regularizer(model, tiny_batch())


def test_switched_attention_is_told_once_and_eager_attention_not(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="ssl_pdr"):
        for model in (tiny_bert(attn_implementation="sdpa"), tiny_bert(attn_implementation="eager"), Small()):
            for _ in range(2):
                with plain_attention(model, WHY):
                    pass
    assert [record.message for record in caplog.records] == [f"{WHY}: attention runs in its plain (math) form"]


def along(model: nn.Module, value: Callable[[], Tensor]) -> tuple[float, float]:
    """A derivative of `value` to the parameters along a random direction: by autograd, and by central differences."""
    model.zero_grad()
    value().backward()
    learned = [p for p in model.parameters() if p.grad is not None]
    steps = [torch.randn_like(p) for p in learned]
    analytic = sum(float((p.grad * step).sum()) for p, step in zip(learned, steps, strict=True) if p.grad is not None)
    size, values = 1e-6, []
    for factor in (1, -2):
        with torch.no_grad():
            for p, step in zip(learned, steps, strict=True):
                p.add_(step, alpha=factor * size)
        values.append(float(value().detach()))
    return analytic, (values[0] - values[1]) / (2 * size)


@pytest.mark.parametrize("name", ["bert", "albert", "deberta-v2-relative", "modernbert", "gpt2"])
def test_forward_mode_has_the_right_gradient(name: str) -> None:
    """torch's own derivative of `layer_norm` gives tangents that are right, with gradients that are not."""
    model = build(name)[0].double().eval()
    inputs, site = tiny_batch(), find_site(model, "output")
    seen: list[Tensor] = []
    with hooked(model, site, lambda x: seen.append(x) or x):
        model(**inputs)
    direction = torch.randn_like(seen[0]) / 100

    def value(context: Callable[[], AbstractContextManager[None]]) -> Tensor:
        def forward(step: Tensor) -> Tensor:
            with hooked(model, site, lambda x: x + step):
                return model(**inputs).logits  # type: ignore[no-any-return]

        with context():
            tangent: Tensor = torch.func.jvp(forward, (torch.zeros_like(direction),), (direction,))[1]
        return tangent.square().sum()

    analytic, numeric = along(model, lambda: value(lambda: forward_mode(model, WHY)))
    assert analytic == pytest.approx(numeric, rel=1e-5)
    analytic, numeric = along(model, lambda: value(lambda: plain_attention(model, WHY)))
    assert analytic != pytest.approx(numeric, rel=1e-3)  # if torch mends it, `_Differentiable` can go


@pytest.mark.parametrize(
    "make", [lambda: RPT("kl", 0.1, radius_unit="absolute", order=2), lambda: WeightedJacobianRegularizer()]
)
def test_regularizers_of_second_order_have_the_right_gradient(make: Callable[[], Any]) -> None:
    model, regularizer = tiny_bert(dropout=0.0, dtype=torch.float64), make()
    value = lambda: regularizer(model, tiny_batch(), row_ids=torch.arange(4)).sum()  # noqa: E731
    analytic, numeric = along(model, value)
    assert analytic == pytest.approx(numeric, rel=1e-5)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_layer_norm_of_forward_mode_is_torchs(dtype: torch.dtype, affine: bool) -> None:
    norm = nn.LayerNorm((3, 5), elementwise_affine=affine, dtype=dtype)
    x = torch.randn(2, 3, 5, dtype=dtype)
    with forward_mode(norm, WHY):
        ours = norm(x)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, norm(x))


def test_the_layer_norm_of_forward_mode_follows_autocast() -> None:
    norm, x = nn.LayerNorm(5), torch.randn(2, 5, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = norm(x)
        with forward_mode(norm, WHY):
            assert norm(x).dtype == expected.dtype


def test_forward_mode_under_autocast_on_a_gpu_is_refused() -> None:
    """Seen on an H100: the softmax of attention in bfloat16 has no derivative of its derivative."""
    model, ids = Small(), {"input_ids": labelled_batch(0)["input_ids"]}
    torch.set_autocast_enabled("cuda", True)
    try:
        with pytest.raises(ModelError, match="order=2 .* float32 only on a GPU; use precision float32, or order=1"):
            RPT("kl", 0.3, order=2)(model, ids)
    finally:
        torch.set_autocast_enabled("cuda", False)
    RPT("kl", 0.3, order=2)(model, ids)


class Batched(Small):
    """Normalizes over the batch."""

    def __init__(self, *, tracked: bool) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6, track_running_stats=tracked)  # type: ignore[assignment]


@pytest.mark.parametrize("tracked", [True, False])
def test_norms_that_torch_gets_wrong_are_refused_in_forward_mode(tracked: bool) -> None:
    model, ids = Batched(tracked=tracked), {"input_ids": labelled_batch(0)["input_ids"]}
    regularizer = RPT("kl", 0.3, order=2)
    with pytest.raises(ModelError, match="order=2 .* gets wrong through BatchNorm1d; use order=1"):
        regularizer(model, ids)
    if tracked:  # in evaluation mode it is a constant factor
        regularizer(model.eval(), ids).sum().backward()


def gradients(model: nn.Module, regularizer: Any, micro: int) -> Tensor:
    """Of one optimizer step over `micro` batches."""
    model.zero_grad()
    objective = Objective(regularizer)
    for step in range(micro):
        objective(model, labelled_batch(step), backward=Tensor.backward).loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("method", METHODS)
def test_recomputing_layers_changes_no_gradient(method: str, attention: str) -> None:
    """With sdpa and without dropout the fused kernel is taken, unless somebody sees to it, also when it is computed again."""
    found = []
    for recompute in (False, True):
        model = tiny_bert(dropout=0.0, attn_implementation=attention, num_labels=2)
        if recompute:
            enable_checkpointing(model)
        found.append(gradients(model, METHODS[method](), micro=2))
        assert getattr(model, f"is_{checkpointing(model)}") == recompute
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("method", ["vat exact, both sides", "vat of order 2", "jr"])
def test_recomputing_by_torchs_wrapper(method: str) -> None:
    found = []
    for recompute in (False, True):
        model = tiny_bert(dropout=0.0, attn_implementation="sdpa")
        if recompute:
            model.bert.encoder.layer[0] = checkpoint_wrapper(model.bert.encoder.layer[0])
        found.append(gradients(model, METHODS[method](), micro=1))
    torch.testing.assert_close(found[0], found[1])


def test_recomputation_keeps_the_contexts_that_it_was_given() -> None:
    entered: list[str] = []

    class Context:
        def __init__(self, name: str) -> None:
            self.name = name

        def __enter__(self) -> None:
            entered.append(self.name)

        def __exit__(self, *_: object) -> None:
            pass

    model = tiny_bert(dropout=0.0, attn_implementation="sdpa")
    enable_checkpointing(model, use_reentrant=False, context_fn=lambda: (Context("first"), Context("again")))
    JacobianRegularizer(1)(model, tiny_batch()).sum().backward()
    assert set(entered) == {"first", "again"}


@pytest.mark.parametrize("how", ["transformers", "transformers, by default", "torch"])
def test_reentrant_checkpointing_is_refused_in_one_line(how: str) -> None:
    model = tiny_bert()
    if how == "torch":
        model.bert.encoder.layer[0] = checkpoint_wrapper(model.bert.encoder.layer[0], CheckpointImpl.REENTRANT)
    else:
        enable_checkpointing(model, **({"use_reentrant": True} if how == "transformers" else {"debug": False}))
    with pytest.raises(ModelError, match="reentrant gradient checkpointing .*'use_reentrant': False") as error:
        VAT("shl", 0.3)(model, tiny_batch())
    assert "\n" not in str(error.value)
    if how != "torch":
        getattr(model, f"{checkpointing(model)}_disable")()
        check_execution(model)


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_heads_without_a_softmax_are_refused(problem: str) -> None:
    model = tiny_bert(problem_type=problem)
    with pytest.raises(ModelError, match=f"problem_type='{problem}' has no softmax posterior.*one class per row"):
        check_posterior(model)


def test_heads_with_a_softmax_pass() -> None:
    for model in (tiny_bert(), tiny_bert(problem_type="single_label_classification"), Small()):
        check_posterior(model)


@dataclass(eq=False)
class Box:
    tensor: Tensor


class Kept:
    """Bytes that autograd keeps for backward passes: now, and at most."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def pack(self, tensor: Tensor) -> Any:
        size = tensor.nbytes
        self.now += size
        self.most = max(self.most, self.now)
        box = Box(tensor.detach())  # with its graph it would keep itself alive
        weakref.finalize(box, self._free, size)
        return box

    def _free(self, size: int) -> None:
        self.now -= size


def kept(run: Callable[[], Any]) -> tuple[int, int]:
    """Bytes that the graphs of what `run` returns hold, and the most that were held while it ran."""
    counter = Kept()
    with torch.autograd.graph.saved_tensors_hooks(counter.pack, lambda box: box.tensor):
        result = run()
        held = counter.now
    del result
    assert counter.now == 0
    return held, counter.most


def test_a_search_leaves_no_graph_behind() -> None:
    """What is held for the loss is what random perturbation holds, which searches nothing."""
    model, batch = tiny_bert(), tiny_batch()
    held = {}
    for name, regularizer in {
        "rpt": RPT("shl", 0.3),
        "power": VAT("shl", 0.3, search="power", steps=3),
        "exact": VAT("shl", 0.3),
    }.items():
        regularizer(model, batch)  # the site is tested
        held[name] = kept(lambda regularizer=regularizer: regularizer(model, batch))
    # Nor was it there while the noisy pass ran: the most that was ever held is the same as well.
    assert held["power"] == held["exact"] == held["rpt"]
    assert held["rpt"][0] > 0


def test_the_clean_graph_of_a_constant_target_is_gone_before_the_noisy_pass() -> None:
    model, batch = tiny_bert(num_labels=2), {**tiny_batch(), "labels": torch.full((4,), -100)}
    exact, random = Objective(VAT("kl", 0.3)), Objective(RPT("kl", 0.3))
    results = {}
    for name, objective in {"exact": exact, "random": random}.items():
        objective(model, batch)
        results[name] = kept(lambda objective=objective: objective(model, batch).loss)
    assert results["exact"] == results["random"]


def test_peak_memory_is_what_can_be_counted_by_hand() -> None:
    x = torch.ones(1000, requires_grad=True)

    def step() -> None:
        x.grad = None
        y = x.exp().exp()  # keeps two results of 4,000 bytes
        y.sum().backward()

    def call() -> Tensor:
        a, b = torch.empty(1000), torch.empty(2000)
        del a
        return torch.cat([b, b])

    assert peak_bytes(call) == 8000 + 16000
    assert 12_000 <= peak_bytes(step) <= 16_100
