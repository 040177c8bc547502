"""`pydocs-topics`: which area of computing does this paragraph of documentation belong to?"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata

from ssl_pdr.data.docstrings import MASK, Docstring, first_paragraph, read_docstrings, source_files
from ssl_pdr.errors import DataError

TRAIN_ROWS, TEST_ROWS, SHIFTED_ROWS = 160, 50, 60
MIN_WORDS, MAX_WORDS = 6, 32


@dataclass(frozen=True)
class Area:
    name: str
    giveaways: str  # regular expression of words that name the area
    home: tuple[str, ...]
    away: tuple[str, ...]


AREAS = (
    Area(
        "distributed computing",
        r"distributed|accelerat\w+",
        (
            "torch.distributed.distributed_c10d",
            "torch.distributed.fsdp",
            "torch.distributed.checkpoint",
            "torch.distributed.elastic",
            "torch.distributed.rpc",
            "torch.distributed.pipelining",
            "torch.distributed.tensor",
        ),
        (
            "accelerate.accelerator",
            "accelerate.state",
            "accelerate.utils.operations",
            "accelerate.utils.fsdp_utils",
            "accelerate.utils.dataclasses",
            "accelerate.data_loader",
            "joblib.parallel",
            "joblib._parallel_backends",
            "transformers.distributed",
        ),
    ),
    Area(
        "geometry",
        r"geometr\w*|spatial\w*",
        ("sympy.geometry",),
        ("scipy.spatial", "matplotlib.bezier", "matplotlib.path", "matplotlib.transforms"),
    ),
    Area(
        "images",
        r"\w*images?|\w*image",
        ("PIL",),
        (
            "transformers.image_*",
            "scipy.ndimage",
            "matplotlib.image",
            "datasets.features.image",
            "sklearn.feature_extraction.image",
        ),
    ),
    Area(
        "input and output",
        r"i/?o|\w*(?:input|output)\w*",
        ("pandas.io.parsers", "pandas.io.excel", "pandas.io.json", "pandas.io.sas", "pandas.io.[a-z]*"),
        (
            "scipy.io",
            "numpy.lib._npyio_impl",
            "networkx.readwrite",
            "pyarrow.parquet",
            "pyarrow.feather",
            "pyarrow.orc",
            "torch.serialization",
            "datasets.io",
            "datasets.arrow_writer",
        ),
    ),
    Area(
        "linear algebra",
        r"linear algebra|\w*linalg\w*",
        ("scipy.linalg", "numpy.linalg", "scipy.sparse.linalg", "sympy.matrices"),
        ("torch.linalg", "mpmath.matrices", "networkx.linalg", "torch.functional", "sklearn.utils.extmath"),
    ),
    Area(
        "neural networks",
        r"neural|nn|networks?",
        ("torch.nn",),
        (
            "sklearn.neural_network",
            "transformers.activations",
            "transformers.pytorch_utils",
            "transformers.modeling_layers",
            "transformers.models.bert",
            "transformers.models.t5",
            "transformers.modeling_*",
        ),
    ),
    Area(
        "optimization",
        r"\w*optimi[sz]\w*",
        ("scipy.optimize",),
        (
            "torch.optim",
            "transformers.optimization",
            "mpmath.calculus.optimization",
            "sklearn.neural_network._stochastic_optimizers",
        ),
    ),
    Area(
        "plotting",
        r"\w*plot\w*",
        (
            "matplotlib.axes",
            "matplotlib.figure",
            "matplotlib.patches",
            "matplotlib.legend",
            "matplotlib.axis",
            "matplotlib.collections",
            "matplotlib.lines",
        ),
        (
            "pandas.plotting",
            "sympy.plotting",
            "networkx.drawing",
            "sklearn.utils._plotting",
            "sklearn.inspection._plot",
            "sklearn.metrics._plot",
            "sklearn.tree._export",
        ),
    ),
    Area(
        "polynomials",
        r"\w*poly\w*",
        (
            "sympy.polys.polytools",
            "sympy.polys.rings",
            "sympy.polys.numberfields",
            "sympy.polys.orthopolys",
            "sympy.polys.factortools",
            "sympy.polys.dense*",
        ),
        (
            "numpy.polynomial",
            "numpy.lib._polynomial_impl",
            "mpmath.calculus.polynomials",
            "scipy.special._orthogonal",
        ),
    ),
    Area(
        "signal processing",
        r"signals?",
        ("scipy.signal",),
        (
            "scipy.fft",
            "numpy.fft",
            "torch.signal",
            "torch.fft",
            "transformers.audio_utils",
            "torch.functional",
        ),
    ),
    Area(
        "special functions",
        r"special",
        ("scipy.special",),
        ("mpmath.functions", "sympy.functions.special", "torch.special"),
    ),
    Area(
        "statistics",
        r"\w*statistic\w*|stats?|distributions?",
        ("scipy.stats",),
        ("torch.distributions", "sympy.stats"),
    ),
    Area(
        "tables",
        r"\w*tables?|\w*dataframes?",
        (
            "pandas.core.frame",
            "pandas.core.generic",
            "pandas.core.series",
            "pandas.core.groupby",
            "pandas.core.reshape",
            "pandas.core.indexes",
        ),
        (
            "datasets.arrow_dataset",
            "datasets.table",
            "datasets.dataset_dict",
            "datasets.iterable_dataset",
            "pyarrow.interchange",
        ),
    ),
)
