"""What helps where labels are few: another target than the clean posterior, and what is asked of unlabelled rows beside R."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ssl_pdr.errors import ConfigError
from ssl_pdr.outputs import is_labelled, model_inputs, per_row, read_logits
from ssl_pdr.regularizers.base import Regularizer
from ssl_pdr.regularizers.noise import RPT, DivergenceRegularizer
from ssl_pdr.sites import unwrap

TEACHER_FILE = "teacher.safetensors"
MARGINALS_FILE = "marginals.safetensors"
NO_CLASSES = "align: expected classes, got answers in a passage, whose positions have no frequencies; leave align out"
# No class is made rarer or more frequent than this by what little has been seen of it.
_LEAST_SHARE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What R compares with, on which rows, how fast its weight rises, and what unlabelled rows are asked beside it.

    By default nothing of it is on. `sharpen`, `confidence`, `ema` and `align` make of the clean side a constant, as their sources have it:
    they need a regularizer whose `target_grad` detaches it, whatever the divergence. The target is that of labelled rows too,
    since R is of all rows. The direction of `VAT` stays that in which the model's own clean posterior moves most: it asks where the
    model is not smooth, and how far its posterior is from the target is a part of R that no noise is needed for, and that R at
    zero noise shows.

    Attributes:
        ramp_up: share of the optimizer steps, in [0, 1], in which α rises from nearly 0 to its value, as exp(−5(1 − t)²); 0 is off. The
            weight of the entropy does not rise. Laine & Aila, ICLR 2017, section 2.
        entropy: weight, at least 0, of the mean entropy of the clean posterior over the unlabelled rows; 0 is off. Grandvalet & Bengio, NIPS
            2004. Miyato et al. (TPAMI 2018, VAT + EntMin) take the mean over all rows; a labelled one has its label to be sure of, and
            where the model is wrong, entropy would strengthen the mistake. It carries gradient on the clean side.
        sharpen: temperature in (0, 1] that the logits of the target are divided by; 1 is off. Xie et al., NeurIPS 2020 (UDA): 0.4.
        confidence: probability in [0, 1) that the likeliest outcome of the target, aligned but not sharpened, has to have for an
            unlabelled row to take R; 0 is off. A row that does not counts in the mean as zero, so that α keeps its meaning. Of the start
            and the end of an answer, the average counts. Xie et al., 2020 (0.8 for text); Sohn et al., NeurIPS 2020 (FixMatch): 0.95.
        ema: decay in [0, 1) of the moving average of the weights whose posterior is the target (see `Teacher`); 0 is off.
            Tarvainen & Valpola, NIPS 2017.
        align: decay in [0, 1) of the running means by which the target's classes become as frequent as those of labelled rows (see
            `Marginals`); 0 is off. Classes only. Berthelot et al., ICLR 2020 (ReMixMatch), section 3.1.

    Raises:
        ConfigError: for a value outside of its range.

    Example:
        >>> Targets(ramp_up=0.5).ramp(0.25)
        0.2865047968601901
    """

    ramp_up: float = 0.0
    entropy: float = 0.0
    sharpen: float = 1.0
    confidence: float = 0.0
    ema: float = 0.0
    align: float = 0.0

    def __post_init__(self) -> None:
        ranges = {
            "ramp_up": (0 <= self.ramp_up <= 1, "from 0 (off) to 1"),
            "entropy": (0 <= self.entropy < math.inf, "a finite number of at least 0"),
            "sharpen": (0 < self.sharpen <= 1, "above 0 and at most 1 (off)"),
            "confidence": (0 <= self.confidence < 1, "at least 0 (off) and below 1"),
            "ema": (0 <= self.ema < 1, "at least 0 (off) and below 1"),
            "align": (0 <= self.align < 1, "at least 0 (off) and below 1"),
        }
        for name, (holds, expected) in ranges.items():
            if not holds:
                raise ConfigError(f"{name} must be {expected}, got {getattr(self, name)}")

    @property
    def on(self) -> list[str]:
        """The names of what is on."""
        return [field.name for field in fields(self) if getattr(self, field.name) != field.default]

    @property
    def replaced(self) -> bool:
        """Whether the target is another posterior than the clean one."""
        return self.sharpen < 1 or self.ema > 0 or self.align > 0

    @property
    def constant(self) -> bool:
        """Whether the clean side of R has to be a constant."""
        return self.replaced or self.confidence > 0

    def check(self, regularizer: Regularizer | None) -> None:
        """Refuse what means nothing to a regularizer.

        Args:
            regularizer: None where there is none, or α is 0.

        Raises:
            ConfigError: in one line.
        """
        if not self.on:
            return
        names = " and ".join(self.on)
        if regularizer is None:
            raise ConfigError(
                f"{names}: expected a regularizer and alpha above 0, without which no unlabelled row is used"
            )
        if self.entropy and regularizer.labelled_only:
            raise ConfigError(
                f"entropy is of unlabelled rows, which {regularizer.name!r} leaves out; use vat, rpt or rdrop"
            )
        if not self.constant:
            return
        if not isinstance(regularizer, DivergenceRegularizer) or regularizer.labelled_only:
            raise ConfigError(
                f"{names}: expected R to compare two posteriors (vat, rpt, rdrop), got {regularizer.name!r}"
            )
        if self.replaced and isinstance(regularizer, RPT) and regularizer.order == 2:
            raise ConfigError(f"{names}: R of order 2 has no target to replace; use order 1")
        if not regularizer.detaches_target:
            raise ConfigError(
                f"{names}: the target is a constant; expected target_grad 'detach', got {regularizer.target_grad!r} "
                f"with the divergence {regularizer.divergence.name!r}, which lets gradient through it"
            )

    def ramp(self, progress: float) -> float:
        """The factor of α, in [e⁻⁵, 1], when a share `progress` of the optimizer steps is done."""
        if progress >= self.ramp_up:
            return 1.0
        return math.exp(-5 * (1 - progress / self.ramp_up) ** 2)

    def confident(self, logits: Tensor) -> Tensor:
        """Which rows are sure enough to take R, (B,), bool; of logits (B, C) or (B, 2, T)."""
        return per_row(_wide(logits).softmax(dim=-1).amax(dim=-1)) >= self.confidence

    def sharpened(self, logits: Tensor) -> Tensor:
        """Logits at the target's temperature, of the same shape."""
        return logits / self.sharpen if self.sharpen < 1 else logits


def mean_entropy(logits: Tensor) -> Tensor:
    """The entropy of each row's posterior, (B,), in nats, with graph; of start and end, (B, 2, T), the average.

    Outcomes outside of the support, of logit −inf, have no share, and a row without support has entropy 0.

    Source: Grandvalet & Bengio, NIPS 2004.

    Example:
        >>> mean_entropy(torch.tensor([[0.0, 0.0], [0.0, -torch.inf]]))
        tensor([0.6931, 0.0000])
    """
    wide = _wide(logits)
    inside = wide > -torch.inf
    log_f = wide.masked_fill(~inside, torch.finfo(wide.dtype).min / 16).log_softmax(dim=-1)
    return per_row((-log_f * log_f.exp() * inside).sum(dim=-1))


def row_weights(batch: Mapping[str, Any]) -> Tensor:
    """What each row counts, (B,): zero for padding rows."""
    weights = batch.get("row_weight")
    return torch.ones(len(batch["labels"])) if weights is None else weights


def _wide(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype.itemsize < 4 else logits


@contextmanager
def _going_on(path: Path, what: str) -> Iterator[None]:
    """While open, a file of a checkpoint that cannot be read is a `ConfigError`."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"cannot read {path}, {what}: {reason}; resume from another checkpoint, or start anew"
        ) from None


class Teacher:
    """An exponential moving average of a model's weights, whose posterior is the target of R.

    After the first update it has the weights of the model, after each further one θ' ← decay · θ' + (1 − decay) · θ; buffers are the model's.
    Its passes have no dropout: what they are compared with is not to differ from step to step by chance, and the model's own masks
    are those of a run without a teacher.

    Args:
        model: not wrapped yet for distribution or mixed precision; copied.
        decay: in [0, 1).

    Source: Tarvainen & Valpola, NIPS 2017; `torch.optim.swa_utils.AveragedModel`.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> teacher = Teacher(model, decay=0.5)
        >>> for value in (0.0, 1.0):
        ...     _ = nn.init.constant_(model.weight, value)
        ...     teacher.update(model)
        >>> float(teacher.average.module.weight)
        0.5
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.average = AveragedModel(unwrap(model), multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
        self.average.eval().requires_grad_(False)

    def update(self, model: nn.Module) -> None:
        """Follow the model; to be called after each optimizer step."""
        self.average.update_parameters(unwrap(model))

    def logits(self, batch: Mapping[str, Any]) -> Tensor:
        """Of the average's posterior, (B, C) or (B, 2, T), no graph; one forward pass, which draws no random number."""
        with torch.no_grad():
            return read_logits(self.average.module(**model_inputs(batch)), batch)

    def save(self, folder: Path) -> None:
        """Write the average into a checkpoint's folder."""
        save_model(self.average, str(folder / TEACHER_FILE))

    def load(self, folder: Path) -> None:
        """Go on from where a checkpoint was written.

        Raises:
            ConfigError: if it holds no average of such a model.
        """
        with _going_on(folder / TEACHER_FILE, "the moving average that ema goes on with"):
            load_model(self.average, str(folder / TEACHER_FILE))


class Marginals:
    """Distribution alignment: which classes labelled rows have, and which the target gives to unlabelled rows, as running means.

    R on unlabelled rows is least where all of them get one class. So the target becomes p̃ ∝ p · q / m, where q is the running mean of
    the labelled rows' class frequencies, and m that of p over unlabelled rows: what is given too often loses, what is given too
    rarely gains. Both start uniform, and are m ← decay · m + (1 − decay) · (mean of the optimizer step) after a step that has such rows.
    Within a step they are those from before it, so that neither micro-batches nor ranks change the loss.

    Args:
        decay: in [0, 1).

    Attributes:
        means: q and m, (2, C); None before the first logits.

    Source: Berthelot et al., ICLR 2020 (ReMixMatch), section 3.1, where m is a mean over recent batches. To the same end: the marginal entropy
    of Hu et al., ICML 2017 (IMSAT).

    Example:
        >>> marginals = Marginals(decay=0.5)
        >>> logits = torch.tensor([[0.8, 0.2], [0.8, 0.2], [0.8, 0.2]]).log()
        >>> marginals.count(logits, {"labels": torch.tensor([0, 1, -100])})
        >>> marginals.update()
        >>> marginals.means
        tensor([[0.5000, 0.5000],
                [0.6500, 0.3500]])
        >>> marginals.aligned(logits[:1]).softmax(dim=-1)
        tensor([[0.6829, 0.3171]])
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.means: Tensor | None = None
        self._sums: Tensor | None = None

    def aligned(self, logits: Tensor) -> Tensor:
        """The target's logits, (B, C), of classes as frequent as those of labelled rows; half precision becomes float32.

        Raises:
            ConfigError: for logits of start and end.
        """
        labelled, given = self._means_for(logits).clamp_min(_LEAST_SHARE).log().unbind()
        return logits + (labelled - given)

    def count(self, logits: Tensor, batch: Mapping[str, Any]) -> None:
        """Take rows of the current optimizer step in; `update` makes means of them.

        Args:
            logits: of the target before alignment, (B, C).
            batch: with `labels` (B,), −100 for rows without; rows of `row_weight` zero do not count.
        """
        labels = batch["labels"].to(logits.device)
        labelled = is_labelled(labels)
        posterior = _wide(logits).softmax(dim=-1)
        frequencies = F.one_hot(labels.clamp_min(0), logits.shape[-1]).to(posterior)
        weights = row_weights(batch).to(posterior).unsqueeze(1)
        sums = torch.stack(
            [(of * weights)[rows].sum(dim=0) for of, rows in ((frequencies, labelled), (posterior, ~labelled))]
        )
        self._sums = sums if self._sums is None else self._sums + sums

    def update(self, reduce: Callable[[Tensor], Tensor] | None = None) -> None:
        """Move the means on; to be called after each optimizer step.

        Args:
            reduce: what adds a tensor up over processes, on each of which this is called; None for one process.
        """
        if self._sums is None:
            return
        sums = self._sums if reduce is None else reduce(self._sums)
        self._sums = None
        means, rows = self._means_for(sums), sums.sum(dim=1, keepdim=True)
        self.means = torch.where(rows > 0, self.decay * means + (1 - self.decay) * sums / rows, means)

    def _means_for(self, logits: Tensor) -> Tensor:
        """The means, (2, C), uniform at first, where the logits are."""
        if logits.dim() != 2:
            raise ConfigError(NO_CLASSES)
        if self.means is None:
            self.means = torch.full((2, logits.shape[-1]), 1 / logits.shape[-1])
        self.means = self.means.to(_wide(logits))
        return self.means

    def save(self, folder: Path) -> None:
        """Write the means into a checkpoint's folder."""
        save_file({} if self.means is None else {"means": self.means}, str(folder / MARGINALS_FILE))

    def load(self, folder: Path) -> None:
        """Go on from where a checkpoint was written.

        Raises:
            ConfigError: if it holds no such means.
        """
        with _going_on(folder / MARGINALS_FILE, "the running means that align goes on with"):
            self.means = load_file(str(folder / MARGINALS_FILE)).get("means")
        self._sums = None
