"""A run on disk: what its folder holds, when it may be written to, and when it may not."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_pdr.checkpoints import newest_first, remove_after
from ssl_pdr.config import FIELDS, TrainConfig, is_model_folder, make_config
from ssl_pdr.errors import ConfigError, OutputError
from ssl_pdr.files import atomic_write, is_passing, is_there
from ssl_pdr.recipe import check_value, load_recipe

# What runs meant by what they do not say: there was no choice of it then.
_BEFORE = {"search": "power"}
# What every configuration of a run says.
_ESSENTIAL = {"data", "model", "reg"}


@dataclass(frozen=True)
class RunFolder:
    """`config.toml`, `split.json`, `log.jsonl`, `checkpoints/`, `model/`, and last of all `result.json`.

    Args:
        path: the folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.toml"

    @property
    def result(self) -> Path:
        """Scores and circumstances; there only when the run is finished."""
        return self.path / "result.json"

    @property
    def split(self) -> Path:
        """The manifest of the label budget."""
        return self.path / "split.json"

    @property
    def log(self) -> Path:
        """One line of JSON for each logged step."""
        return self.path / "log.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Folders `checkpoint-N`, as the Trainer writes them, and what is not finished yet."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The trained model, as `save_pretrained` writes it."""
        return self.path / "model"

    @property
    def evaluation(self) -> Path:
        """Predictions and scores of `ssl-pdr evaluate`."""
        return self.path / "evaluation"

    @property
    def later(self) -> Path:
        """Scores on sets that came after the training, a folder for each."""
        return self.path / "later"

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return self.result.is_file()

    def last_checkpoint(self) -> Path | None:
        """The newest checkpoint."""
        return next(iter(newest_first(self.checkpoints)), None)

    def check_free(self, *, overwrite: bool) -> None:
        """Refuse a folder that holds work, unless it is to be overwritten, or that is not a run's at all.

        Raises:
            OutputError: in one line, with what to do.
        """
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path} is a file; --output expects a folder")
        there = [] if not self.path.is_dir() else [path for path in self.path.iterdir() if not is_passing(path)]
        if there and not self._has_our_config():
            raise OutputError(f"{self.path} has files in it but is no run; choose a new folder with --output")
        if overwrite:
            return
        if self.finished:
            raise OutputError(f"{self.path} holds a finished run; add --overwrite, or choose another --output")
        if (checkpoint := self.last_checkpoint()) is not None:
            raise OutputError(
                f"{self.path} holds an unfinished run ({checkpoint.name}); go on with --resume {self.path}, "
                "or add --overwrite"
            )

    def _has_our_config(self) -> bool:
        """Whether `config.toml` is one of ours: other programs have files of that name too."""
        try:
            values = tomllib.loads(self.config.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):  # a number of too many digits is a plain ValueError
            return False
        return set(values) >= _ESSENTIAL and set(values) <= set(FIELDS)

    def create(self) -> None:
        """Make the folder and see that it can be written to."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot make the folder {self.path}: {error.strerror}; choose another --output"
            ) from None
        probe = self.path / ".writable"
        atomic_write(probe, "")
        probe.unlink()

    def clear(self) -> None:
        """Remove what an earlier run left, and nothing else; its result goes first, so that no half of it looks whole."""
        for file in (self.result, self.split, self.log):
            file.unlink(missing_ok=True)
        remove_after(self.checkpoints, -1)
        for folder in (self.checkpoints, self.model, self.evaluation, self.later):
            if folder.is_dir():
                shutil.rmtree(folder)

    def write_config(self, config: TrainConfig) -> None:
        """Write `config.toml`."""
        atomic_write(self.config, config.to_toml())

    def read_config(self) -> TrainConfig:
        """The configuration of a run that is to be resumed.

        Raises:
            OutputError: if there is no run here, or it is finished.
            ConfigError: if its configuration was damaged.
        """
        if not self.config.is_file():
            raise OutputError(
                f"{self.path} holds no run to resume (no config.toml); give the folder that --output named"
            )
        if self.finished:
            raise OutputError(f"the run in {self.path} is finished: its result is in {self.result}")
        try:
            values = tomllib.loads(self.config.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{self.config} is not valid TOML: {error}") from None
        if missing := _ESSENTIAL - set(values):
            raise ConfigError(f"{self.config} is not whole: it has no {min(missing)}; start a new run")
        checked = {key: check_value(key, value, where=str(self.config)) for key, value in values.items()}
        return make_config(_BEFORE, checked, {"output": str(self.path)})

    @property
    def is_run(self) -> bool:
        """Whether this is the folder of a run, finished or not."""
        return self.path.is_dir() and self._has_our_config()

    def read_finished(self) -> tuple[TrainConfig, dict[str, Any]]:
        """The configuration and the result of a run that has come to its end.

        Raises:
            OutputError: in one line, if there is none, or its model is gone.
        """
        if not self.config.is_file():
            raise OutputError(f"{self.path} holds no run (no config.toml); expected the folder of a finished run")
        if not self.finished:
            raise OutputError(f"the run in {self.path} is not finished; go on with: ssl-pdr train --resume {self.path}")
        if not (self.model / "config.json").is_file():
            raise OutputError(f"{self.path} holds a result but no model (no model/config.json); train it anew")
        try:
            result: dict[str, Any] = json.loads(self.result.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise OutputError(f"cannot read {self.result}: {error}; train it anew") from None
        config = make_config(_BEFORE, load_recipe(self.config), {"output": str(self.path)})
        return self.with_own_split(config), result

    def with_own_split(self, config: TrainConfig) -> TrainConfig:
        """A configuration that takes a given split from the run's own copy, where there is one."""
        if config.split is None or not self.split.is_file():
            return config
        return dataclasses.replace(config, split=str(self.split))

    def write_result(self, result: dict[str, Any]) -> None:
        """Write `result.json`, which makes the run finished."""
        atomic_write(self.result, json.dumps(result, indent=2, ensure_ascii=False) + "\n")

    def forget_after(self, step: int) -> None:
        """Remove what was written and logged after `step`: a run that goes on from there does so anew."""
        remove_after(self.checkpoints, step)
        if not self.log.is_file():
            return
        lines = self.log.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if _step_of(line) <= step]
        atomic_write(self.log, "".join(f"{line}\n" for line in kept))


def model_name(model: str) -> str:
    """A model's name for other people: of a folder its own, with the run's before it; a name on the Hub as it is.

    Example:
        >>> model_name("/home/me/bert"), model_name("owner/name")
        ('bert', 'owner/name')
    """
    if not is_model_folder(model):
        return model
    try:
        folder = Path(model).expanduser().absolute()
    except RuntimeError:  # the home folder of somebody who has none here
        return Path(model).name
    of_run = is_there(folder.parent) and RunFolder(folder.parent).is_run
    return f"{folder.parent.name}/{folder.name}" if of_run else folder.name


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # a line cut short when the run was killed
        return float("inf")
