"""Distribution alignment: a target whose classes are as frequent as those of labelled rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ssl_pdr.checkpoints import unreadable
from ssl_pdr.errors import ConfigError
from ssl_pdr.outputs import is_labelled, row_weights
from ssl_pdr.regularizers.base import Regularizer
from ssl_pdr.regularizers.noise import RPT, DivergenceRegularizer

MARGINALS_FILE = "marginals.safetensors"
NO_CLASSES = "align: expected classes, got answers in a passage, whose positions have no frequencies; leave align out"
# No class is made rarer or more frequent than this by what little has been seen of it.
_LEAST_SHARE = 1e-3


def check_alignment(align: float, regularizer: Regularizer | None) -> None:
    """Refuse a decay out of its range, or alignment that means nothing to a regularizer.

    Args:
        align: decay of the running means in [0, 1); 0 is off.
        regularizer: None where there is none, or α is 0.

    Raises:
        ConfigError: in one line.
    """
    if not 0 <= align < 1:
        raise ConfigError(f"align must be at least 0 (off) and below 1, got {align}")
    if align == 0:
        return
    if regularizer is None:
        raise ConfigError("align: expected a regularizer and alpha above 0, without which no unlabelled row is used")
    if not isinstance(regularizer, DivergenceRegularizer) or regularizer.labelled_only:
        raise ConfigError(f"align: expected R to compare two posteriors (vat, rpt, rdrop), got {regularizer.name!r}")
    if isinstance(regularizer, RPT) and regularizer.order == 2:
        raise ConfigError("align: R of order 2 has no target to replace; use order 1")
    if not regularizer.detaches_target:
        raise ConfigError(
            f"align: the target is a constant; expected target_grad 'detach', got {regularizer.target_grad!r} "
            f"with the divergence {regularizer.divergence.name!r}, which lets gradient through it"
        )


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
        posterior = _widened(logits).softmax(dim=-1)
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
        self.means = self.means.to(_widened(logits))
        return self.means

    def save(self, folder: Path) -> None:
        """Write the means into a checkpoint's folder."""
        save_file({} if self.means is None else {"means": self.means}, str(folder / MARGINALS_FILE))

    def load(self, folder: Path) -> None:
        """Go on from where a checkpoint was written.

        Raises:
            ConfigError: if it holds no such means.
        """
        path = folder / MARGINALS_FILE
        try:
            self.means = load_file(str(path)).get("means")
        except (OSError, SafetensorError) as error:
            raise unreadable(path, "the running means that align goes on with", error) from None
        self._sums = None


def _widened(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype.itemsize < 4 else logits
