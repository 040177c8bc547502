"""The paper's theory checked on a finished run: its model, its rows, its regularizer."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssl_pdr import theory
from ssl_pdr.config import TrainConfig
from ssl_pdr.data.collate import PaddingCollator
from ssl_pdr.diagnostics import DropoutShare, dropout_share
from ssl_pdr.divergences import Divergence
from ssl_pdr.errors import ConfigError
from ssl_pdr.materials import Materials, prepare
from ssl_pdr.methods import build_regularizer
from ssl_pdr.perturbation import mean_token_norm
from ssl_pdr.progress import Listener, Silent
from ssl_pdr.regularizers import Regularizer
from ssl_pdr.run_folder import RunFolder
from ssl_pdr.tasks.base import fit_together

DIVERGENCES = ("kl", "shl", "jsd")


@dataclass(frozen=True)
class Spread:
    """Quartiles over the rows.

    Attributes:
        low: first quartile.
        median: second.
        high: third.
    """

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Tensor) -> Spread:
        """The quartiles of (B,) values."""
        return cls(*values.double().quantile(values.new_tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist())


@dataclass(frozen=True)
class JacobianNorms:
    """The size of one model's Jacobian, posterior by embeddings, on the rows.

    Attributes:
        model: which one: `before training`, `after training`, or the folder of another run.
        spectral: ‖J‖_sp.
        frobenius: ‖J‖_F.
    """

    model: str
    spectral: Spread
    frobenius: Spread


@dataclass(frozen=True)
class Inspection:
    """What `inspect_run` finds.

    Attributes:
        run: the folder.
        method: regularizer, with its divergence.
        rows: how many rows were looked at, held out from training.
        tokens: of the longest.
        site: where the embeddings are taken.
        radius: the run's own, relative to the mean token norm; None where it has none.
        merged: largest probability of outcomes that were taken as one; see `theory.FromSite`.
        second_order: Eq. 7, by dtype, radius and divergence.
        pinsker: the link from VAT to the Jacobian, by radius.
        norms: of the Jacobian, before and after training, and of another run.
        dropout: the share of R that is dropout; None for a run without R.
    """

    run: str
    method: str
    rows: int
    tokens: int
    site: str
    radius: float | None
    merged: float
    second_order: list[theory.Eq7Point]
    pinsker: list[theory.PinskerPoint]
    norms: list[JacobianNorms]
    dropout: DropoutShare | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it: what is not a number is None."""
        return {name: _plain(value) for name, value in dataclasses.asdict(self).items()}


def inspect_run(
    path: str | Path, *, rows: int = 16, against: str | Path | None = None, listener: Listener | None = None
) -> Inspection:
    """Check Eq. 7, the link from VAT to the Jacobian, the Jacobian's norms and the share of dropout on a finished run.

    Args:
        path: the run's folder.
        rows: how many rows of its held-out data, drawn by the run's seed.
        against: another finished run on the same data and from the same model, whose Jacobian is measured beside, on
            the rows that the first one holds out: compare runs of one seed.
        listener: told of stages.

    Raises:
        OutputError: where there is no finished run.
        ConfigError: for runs that cannot be compared.
        PDRError: where data or model of the run are no longer there.
    """
    listener = listener or Silent()
    folder = RunFolder(Path(path))
    config, _ = folder.read_finished()
    other = None if against is None else RunFolder(Path(against))
    if other is not None:
        _comparable(config, other.read_finished()[0])
    materials = prepare(config, listener)
    listener.stage("loading the models")
    model = _load(materials, str(folder.model))
    inputs, site = _batch(config, materials, model, rows), str(config.site)
    single = theory.FromSite(model, inputs, site)
    exact = theory.FromSite(copy.deepcopy(model).double(), inputs, site)
    listener.stage("the Jacobian before and after training")
    linear = theory.linearise(exact)
    torch.manual_seed(config.seed)  # the head's weights are drawn, as when the run began
    norms = [_norms("before training", _linear(_load(materials, config.model), inputs, site))]
    norms.append(_norms("after training", linear))
    if other is not None:
        norms.append(_norms(str(other.path), _linear(_load(materials, str(other.model)), inputs, site)))
    regularizer = build_regularizer(config)
    own, radius = _own_divergence(regularizer), _relative_radius(regularizer, single)
    listener.stage("Eq. 7 against the divergences")
    radii = sorted({*theory.EQ7_RADII, *([radius] if radius else [])}, reverse=True)
    second_order = theory.second_order([exact, single], linear, _divergences(own), radii, config.seed)
    listener.stage("the worst case within a radius")
    bounds = theory.pinsker(exact, linear, searcher=single)
    listener.stage("the share of dropout")
    return Inspection(
        run=str(folder.path),
        method=config.reg if own is None else f"{config.reg} {own.name}",
        rows=len(inputs["input_ids"]),
        tokens=inputs["input_ids"].shape[1],
        site=site,
        radius=radius,
        merged=exact.merged,
        second_order=second_order,
        pinsker=bounds,
        norms=norms,
        dropout=None if regularizer is None else dropout_share(model, inputs, regularizer),
    )


def _comparable(config: TrainConfig, other: TrainConfig) -> None:
    for name in ("model", "data_fingerprint"):
        ours, theirs = str(getattr(config, name)), str(getattr(other, name))
        if ours != theirs:
            raise ConfigError(
                f"--against expects a run on the same data and from the same model; {name} is {theirs[:40]}, expected {ours[:40]}"
            )


def _batch(config: TrainConfig, materials: Materials, model: Any, rows: int) -> dict[str, Tensor]:
    """Rows that the run did not train on, as one batch; of questions, windows of their passages."""
    table = next(iter(materials.corpus.evaluation.values()))
    chosen = np.random.default_rng(config.seed).permutation(len(table))[:rows]
    features = materials.task.features(table.select(np.sort(chosen)), materials.tokenizer, config.max_length)
    wanted = {*inspect.signature(model.forward).parameters, "labels", "passage"}
    columns = features.select_columns([name for name in features.column_names if name in wanted])
    return PaddingCollator.like(materials.tokenizer)([columns[i] for i in range(min(rows, len(columns)))])


def _load(materials: Materials, source: str) -> Any:
    model = materials.task.load_model(source)
    fit_together(model, materials.tokenizer)
    return model


def _linear(model: Any, inputs: dict[str, Tensor], site: str) -> theory.Linearisation:
    return theory.linearise(theory.FromSite(model.double(), inputs, site))


def _norms(name: str, linear: theory.Linearisation) -> JacobianNorms:
    return JacobianNorms(name, Spread.of(linear.spectral_norm()), Spread.of(linear.frobenius_norm()))


def _relative_radius(regularizer: Regularizer | None, f: theory.FromSite) -> float | None:
    radius, unit = getattr(regularizer, "radius", None), getattr(regularizer, "radius_unit", None)
    if not radius:
        return None
    return float(radius) if unit == "token_norm" else radius / float(mean_token_norm(f.embeddings, f.mask).mean())


def _divergences(own: Divergence | None) -> list[str]:
    further = own is not None and own.curvature is not None and own.name not in DIVERGENCES
    return [*DIVERGENCES, own.name] if own is not None and further else list(DIVERGENCES)


def _own_divergence(regularizer: Regularizer | None) -> Divergence | None:
    return None if regularizer is None or regularizer.labelled_only else getattr(regularizer, "divergence", None)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
