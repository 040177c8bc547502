"""In half precision noise is realised or refused: the trap on a real encoder, the cure, and what the log says of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssl_pdr import RPT, VAT, PDRTrainer, RDrop
from ssl_pdr.diagnostics import resolution, rounding
from ssl_pdr.errors import ModelError
from ssl_pdr.perturbation import NoiseKey, keyed_normal, unit_directions
from ssl_pdr.regularizers import AdversarialTraining, JacobianRegularizer, Regularizer
from ssl_pdr.regularizers.noise import _CHECK_EVERY
from ssl_pdr.resolution import check_resolution, realised_noise, resolved_share, rounding_noise
from ssl_pdr.sites import find_site, hooked
from ssl_pdr.tasks import SequenceClassification
from ssl_pdr.tasks.base import load_tokenizer
from ssl_pdr.tasks.question_answering import QuestionAnswering
from tests.conftest import tiny_batch, tiny_bert, tiny_config
from tests.test_trainer import arguments, rows

HALVES = [torch.bfloat16, torch.float16]
SENTENCES = [
    f"{who} {what}."
    for who in ("The plot", "Every actor in it", "A long and warm film", "Nothing here, not even the music,")
    for what in ("moves me", "is worth the ticket", "makes much sense at all", "stays with you for days")
]


def autocast(dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    return nullcontext() if dtype is None else torch.autocast("cpu", dtype)


@contextmanager
def autocast_within(model: nn.Module, dtype: torch.dtype) -> Iterator[nn.Module]:
    """Mixed precision as accelerate has it: on in the model's own forward and nowhere else."""
    forward = model.forward
    model.forward = torch.autocast("cpu", dtype)(forward)
    yield model
    model.forward = forward


@pytest.fixture(scope="module")
def encoder() -> tuple[Any, dict[str, Tensor]]:
    """MiniLM with a head whose logits differ as after training, and 16 sentences."""
    torch.manual_seed(0)
    model = SequenceClassification(["no", "yes"]).load_model("minilm-l6").eval()
    nn.init.normal_(model.classifier.weight, std=0.3)
    return model, dict(load_tokenizer("minilm-l6")(SENTENCES, padding=True, return_tensors="pt"))


def random_noise(embeddings: Tensor, radius: float) -> Tensor:
    count, tokens, width = embeddings.shape
    places = torch.arange(tokens).expand(count, tokens)
    normal = keyed_normal(NoiseKey(5), torch.arange(count), places, width)
    return radius * unit_directions(normal, torch.ones(count, tokens, dtype=torch.bool))


def moves(model: Any, batch: dict[str, Tensor], dtype: torch.dtype | None, radius: float) -> tuple[Tensor, Tensor]:
    """What noise at `output` changes: of what the first matrix product reads, (B, T, E), and of the logits, (B, C)."""
    read: list[Tensor] = []
    first = model.bert.encoder.layer[0].attention.self.query
    handle = first.register_forward_pre_hook(lambda _, args: read.append(args[0].to(dtype or torch.float32).float()))
    logits = []
    with torch.no_grad(), autocast(dtype):
        for size in (0.0, radius):
            with hooked(model, find_site(model, "output"), lambda x, size=size: x + random_noise(x, size).to(x.dtype)):  # type: ignore[misc]
                logits.append(model(**batch).logits.float())
    handle.remove()
    real = batch["attention_mask"].bool()
    return (read[1] - read[0])[real], logits[1] - logits[0]


def cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.cosine_similarity(a.flatten(), b.flatten(), dim=0))


@pytest.mark.real
def test_the_trap_autocast_loses_the_noise_of_the_paper_without_a_word(encoder: tuple[Any, Any]) -> None:
    model, batch = encoder
    exact, wanted = moves(model, batch, None, 1e-3)
    assert float((exact != 0).float().mean()) > 0.99
    # Which entries change, and how well the change of the logits points where float32's does.
    measured = {
        dtype: (float((read != 0).float().mean()), cosine(logits, wanted))
        for dtype in HALVES
        for read, logits in [moves(model, batch, dtype, 1e-3)]
    }
    assert measured[torch.bfloat16][0] < 0.15
    assert measured[torch.float16][0] < 0.5
    assert all(abs(pointing) < 0.5 for _, pointing in measured.values())
    # Embeddings that are narrow already, as those of narrow weights are, lose even more.
    narrow = torch.randn(4, 9, 384).bfloat16()
    assert float((realised_noise(narrow, random_noise(narrow, 1e-3), torch.bfloat16) != 0).float().mean()) < 0.02
    # A radius that is resolved does what it does in float32.
    assert cosine(moves(model, batch, torch.bfloat16, 2.0)[1], moves(model, batch, None, 2.0)[1]) > 0.95


@pytest.mark.real
@pytest.mark.parametrize("cls", [RPT, VAT])
def test_the_cure_the_radius_that_the_message_names_gives_the_r_of_float32(
    encoder: tuple[Any, Any], cls: type[RPT]
) -> None:
    model, batch = encoder
    ids = torch.arange(len(SENTENCES))
    with autocast(torch.bfloat16), pytest.raises(ModelError, match="order=2, or float32$") as error:
        cls("kl", 1e-3, radius_unit="absolute", site="sum", dropout="off")(model, batch, row_ids=ids)
    assert "radius 0.001 (absolute) bfloat16 keeps only" in str(error.value)
    named = float(re.findall(r"a radius of at least ([\d.]+),", str(error.value))[0])
    assert 0.002 <= named <= 0.2
    for radius, tolerance in ((named, 1.0), (10 * named, 0.15)):
        regularizer = cls("kl", radius, radius_unit="absolute", site="sum", dropout="off")
        wanted = regularizer(model, batch, row_ids=ids).detach().mean()
        with autocast(torch.bfloat16):
            value = regularizer(model, batch, row_ids=ids).detach().mean()
        assert float(value) == pytest.approx(float(wanted), rel=tolerance)


@pytest.mark.real
def test_noise_that_is_kept_may_still_do_nothing_but_rounding(encoder: tuple[Any, Any]) -> None:
    """The noise gets through the first rounding; R is far above what it should be, by those that follow: how far differs by processor."""
    model, batch = encoder
    regularizer, ids = RPT("kl", 0.1, radius_unit="absolute", dropout="off"), torch.arange(len(SENTENCES))
    clean = regularizer.clean_pass(model, batch)
    noise = regularizer.noise(model, batch, clean, row_ids=ids)
    assert clean.embeddings is not None
    assert float(resolved_share(clean.embeddings, noise, torch.bfloat16).min()) > 0.6
    wanted = regularizer.at_noise(model, batch, clean, noise).mean()
    with autocast(torch.bfloat16):
        clean = regularizer.clean_pass(model, batch)
        found = regularizer.at_noise(model, batch, clean, noise).mean()
        by_rounding = rounding(model, batch, regularizer, clean)
        with pytest.raises(ModelError, match=r"bfloat16 leaves only \d+% of R above its rounding; use a radius"):
            regularizer(model, batch, row_ids=ids)
    assert float(found) > 1.3 * float(wanted)
    assert by_rounding is not None
    # What rounding alone makes of R accounts for what is too much, and is of the size of R.
    assert 0.4 * float(found - wanted) < float(by_rounding.r_rounding.mean()) < 2 * float(found)


@pytest.mark.real
@pytest.mark.parametrize("cls", [RPT, VAT])
def test_order_2_needs_no_radius_that_bfloat16_resolves(encoder: tuple[Any, Any], cls: type[RPT]) -> None:
    model, batch = encoder
    ids = torch.arange(len(SENTENCES))
    regularizer = cls("kl", 1e-3, radius_unit="absolute", site="sum", dropout="off", order=2)
    wanted = regularizer(model, batch, row_ids=ids).detach()
    with autocast(torch.bfloat16):
        value = regularizer(model, batch, row_ids=ids).detach()
    assert float(value.mean()) == pytest.approx(float(wanted.mean()), rel=0.05)
    torch.testing.assert_close(value, wanted, rtol=0.3, atol=float(wanted.max()) * 0.02)


@pytest.mark.parametrize("dtype", HALVES)
def test_an_adversarial_direction_survives_autocast(dtype: torch.dtype) -> None:
    model, batch, found = tiny_bert(dropout=0.0), tiny_batch(), []
    for within in (None, dtype):
        regularizer = VAT("kl", 1.0)
        with autocast(within):
            clean = regularizer.clean_pass(model, batch)
            found.append(regularizer.noise(model, batch, clean, row_ids=torch.arange(4)))
    assert cosine(*found) > (0.99 if dtype == torch.bfloat16 else 0.999)


@pytest.mark.parametrize("cls", [RPT, VAT, AdversarialTraining])
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("how", ["around", "within", "weights"])
def test_what_no_dtype_resolves_is_refused_however_it_comes(
    cls: Callable[..., Regularizer], dtype: torch.dtype, how: str
) -> None:
    model = tiny_bert(dropout=0.1, dtype=dtype if how == "weights" else None)
    batch = {**tiny_batch(), "labels": torch.tensor([0, 1, 2, 0])}
    contexts: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        "around": lambda: autocast(dtype),
        "within": lambda: autocast_within(model, dtype),
        "weights": nullcontext,
    }
    context = contexts[how]
    regularizer = cls(radius=1e-4)
    with context(), pytest.raises(ModelError, match=str(dtype).removeprefix("torch.")) as error:
        regularizer(model, batch)
    assert str(error.value).count("\n") == 0
    assert ("order=2" in str(error.value)) == (cls is not AdversarialTraining)
    with context():
        assert (cls(radius=1.0)(model, batch) > 0).all()
    cls(radius=1e-4)(tiny_bert(), batch)  # in float32 it is fine


@pytest.mark.parametrize("unit", ["absolute", "token_norm"])
def test_the_message_speaks_in_the_unit_of_the_option(unit: str) -> None:
    with autocast(torch.bfloat16), pytest.raises(ModelError, match=rf"at radius 0\.0001 \({unit}\)"):
        RPT("kl", 1e-4, radius_unit=unit)(tiny_bert(), tiny_batch())


def test_a_radius_that_embeddings_outgrow_in_the_middle_of_a_training_is_refused() -> None:
    model, regularizer = tiny_bert(), RPT("kl", 0.5, radius_unit="absolute")
    with autocast(torch.bfloat16):
        regularizer(model, tiny_batch())
        with torch.no_grad():
            model.bert.embeddings.LayerNorm.weight *= 1000
        for _ in range(_CHECK_EVERY - 1):  # looked at now and then, as it costs time
            regularizer(model, tiny_batch())
        with pytest.raises(ModelError, match="bfloat16 keeps only"):
            regularizer(model, tiny_batch())


def test_one_row_whose_noise_is_lost_is_enough() -> None:
    embeddings = torch.randn(8, 3, 16)
    embeddings[5] *= 1000
    noise = random_noise(embeddings, 0.1)
    share = resolved_share(embeddings, noise, torch.bfloat16)
    assert share[5] < 0.1
    assert share[[i for i in range(8) if i != 5]].min() > 0.8
    with pytest.raises(ModelError, match="keeps only"):
        check_resolution(embeddings, noise, dtype=torch.bfloat16)
    check_resolution(embeddings, noise, dtype=torch.float32)


def test_the_radius_that_is_named_is_where_r_rises_above_rounding() -> None:
    """Against a closed form: R is ‖ε‖² and a floor; rounding to bfloat16 is all floor."""
    embeddings = torch.randn(16, 3, 16)
    noise = random_noise(embeddings, 0.1)
    floor = 2.0

    def effect(noise: Tensor) -> Tensor:
        return floor + noise.square().sum(dim=(1, 2))  # of noise of radius c: 3 c²

    # 3 c² ≥ 2 from c = 0.82 on, and the radii that are tried are 0.2, 0.4, 0.8, 1.6, …
    with pytest.raises(ModelError, match=r"leaves only 1% of R .* radius of at least 1\.6, no other way"):
        check_resolution(embeddings, noise, dtype=torch.bfloat16, radius=0.1, effect=effect, instead="no other way")
    check_resolution(embeddings, 9 * noise, dtype=torch.bfloat16, effect=effect)


def test_r_that_is_nothing_or_not_a_number_is_lost_too() -> None:
    embeddings = torch.randn(16, 3, 16)
    for r in (torch.zeros(16), torch.full((16,), torch.nan)):
        with pytest.raises(ModelError, match="leaves only 0% of R above its rounding; use float32"):
            check_resolution(embeddings, 0.1 * embeddings, dtype=torch.bfloat16, effect=lambda _, r=r: r)  # type: ignore[misc]


def test_noise_too_small_to_be_squared_is_seen_to_be_lost() -> None:
    embeddings = torch.randn(2, 3, 16)
    assert resolved_share(embeddings, random_noise(embeddings, 1e-25), torch.float32).tolist() == [0.0, 0.0]
    assert resolved_share(embeddings * 1e-25, random_noise(embeddings, 1e-25), torch.float32).min() > 0.99
    assert resolved_share(embeddings, embeddings * 0, torch.bfloat16).tolist() == [1.0, 1.0]
    with pytest.raises(ModelError, match="the radius underflows"):
        check_resolution(embeddings, embeddings * 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_rounding_noise_is_half_the_distance_to_the_next_number(dtype: torch.dtype) -> None:
    x = torch.randn(8, 5, 64) * torch.logspace(-3, 3, 64)
    narrow = x.to(dtype)
    spacing = torch.from_numpy(np.spacing(np.abs(narrow.numpy())).astype(np.float32))
    noise = rounding_noise(narrow, dtype)
    torch.testing.assert_close(noise.abs() * 2, spacing, rtol=0, atol=0)
    assert float((noise > 0).float().mean()) == pytest.approx(0.5, abs=0.05)
    assert not torch.equal(noise, rounding_noise(narrow, dtype, seed=1))
    # Added in float32, as under autocast, it moves about half of the entries, by one number each.
    moved = (x + rounding_noise(x, dtype)).to(dtype).float() - narrow.float()
    if dtype == torch.float16:
        assert float((moved != 0).float().mean()) == pytest.approx(0.5, abs=0.05)


def test_the_log_gets_the_share_of_noise_and_of_r_without_a_trace() -> None:
    model, batch, passes = tiny_bert(dropout=0.5), tiny_batch(), []
    model.register_forward_hook(lambda *_: passes.append(1))
    regularizer = VAT("kl", 0.5)
    for dtype in (None, torch.bfloat16):
        with autocast(dtype):
            clean = regularizer.clean_pass(model, batch).without_graph()
            calls, state, before = regularizer._calls, torch.get_rng_state(), len(passes)
            found = rounding(model, batch, regularizer, clean)
            assert len(passes) == before + 1
            assert torch.equal(torch.get_rng_state(), state)
            assert regularizer._calls == calls
            assert found is not None
            assert found.noise_kept.shape == found.r_rounding.shape == (4,)
            assert not found.r_rounding.requires_grad
            assert found.noise_kept.min() > 0.8
        # Masks are repeated: those of dropout 0.5 alone make an R of more than 1e-2.
        assert float(found.r_rounding.mean()) < (1e-10 if dtype is None else 1e-3)
        assert dtype is None or float(found.r_rounding.mean()) > 1e-8


@pytest.mark.parametrize(
    "regularizer", [None, RDrop("kl"), JacobianRegularizer(), AdversarialTraining(), RPT("kl", order=2)]
)
def test_rounding_is_no_matter_where_no_noise_is_added(regularizer: Regularizer | None) -> None:
    model, batch = tiny_bert(), tiny_batch()
    clean = (regularizer or RPT("kl")).clean_pass(model, batch)
    assert rounding(model, batch, regularizer, clean) is None


def test_a_dtype_that_does_not_run_is_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_bert(dropout=0.0)
    forward = model.forward

    def picky(*args: Any, **kwargs: Any) -> Any:
        if torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.float16:
            raise RuntimeError("no kernel\nfor Half")
        return forward(*args, **kwargs)

    monkeypatch.setattr(model, "forward", picky)
    single, half, brain = resolution(model, tiny_batch(), RPT("kl", 1e-2))
    assert half.note == "cannot run on this machine's cpu: no kernel for Half"
    assert half.share is half.r is half.smallest_radius is None
    assert single.share is not None
    assert brain.share is not None
    assert single.share > 0.99 > brain.share
    assert single.smallest_radius is not None
    assert brain.smallest_radius is not None
    assert single.smallest_radius < 1e-4 < brain.smallest_radius
    # What the table promises holds in training.
    for radius, context in ((single.smallest_radius, nullcontext()), (brain.smallest_radius, autocast(torch.bfloat16))):
        with context:
            assert RPT("kl", radius)(model, tiny_batch(), row_ids=torch.arange(4)).isfinite().all()


@pytest.mark.parametrize("dtype", HALVES)
def test_models_of_both_tasks_load_in_float32_in_which_the_noise_is_kept(tmp_path: Path, dtype: torch.dtype) -> None:
    from transformers import BertForQuestionAnswering

    tiny_bert(num_labels=2, dtype=dtype).save_pretrained(tmp_path / "classes")
    BertForQuestionAnswering(tiny_config(0.1)).to(dtype).save_pretrained(tmp_path / "answers")
    for task, folder in ((SequenceClassification(["no", "yes"]), "classes"), (QuestionAnswering(), "answers")):
        model = task.load_model(str(tmp_path / folder))
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        assert model.dtype == torch.float32
        RPT("kl", 1e-3, site="sum")(model, tiny_batch())


def test_small_noise_in_float32_gives_the_r_of_float64() -> None:
    """Cancellation: a textbook divergence returns several times this, or less than nothing."""
    values = {}
    for dtype in (torch.float32, torch.float64):
        regularizer = RPT("kl", 1e-2, dropout="off")
        values[dtype] = regularizer(tiny_bert(dtype=dtype), tiny_batch(), row_ids=torch.arange(4)).double()
    torch.testing.assert_close(values[torch.float32], values[torch.float64], rtol=1e-2, atol=0)


def test_the_trainer_refuses_too_although_its_autocast_is_within_the_model(tmp_path: Path) -> None:
    for radius, good in ((1e-4, False), (1.0, True)):
        trainer = PDRTrainer(
            tiny_bert(),
            arguments(tmp_path, bf16=True, max_steps=1),
            train_dataset=rows(8),
            unlabelled_dataset=rows(8, labelled=False, seed=1),
            regularizer=VAT("kl", radius, radius_unit="absolute"),
        )
        with nullcontext() if good else pytest.raises(ModelError, match=r"radius 0\.0001 \(absolute\) bfloat16"):
            trainer.train()
